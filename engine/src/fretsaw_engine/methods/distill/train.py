"""Distillation: the Hugging Face Trainer as the loop, our loss, our snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import Trainer, TrainingArguments

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.distill import rows as planning
from fretsaw_engine.methods.distill.known import KnownStates, worth_keeping
from fretsaw_engine.training import distributed
from fretsaw_engine.training.loop import ResumableTrainer, Session, common_arguments
from fretsaw_engine.training.settings import require
from fretsaw_engine.training.spikes import SpikeGuard

if TYPE_CHECKING:
    from fretsaw_engine.data.stored import StoredRows
    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.distill.pair import Pair
    from fretsaw_engine.training.context import Context

PROBE_ROWS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillSettings:
    """What a distillation is asked for. References stand with the kind's documentation."""

    tokens: int
    sequence_length: int = 256
    batch_size: int = 16
    learning_rate: float = 3e-4
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    temperature: float = 1.0
    ce_weight: float = 0.0
    hidden_weight: float = 0.0
    spike_factor: float = 10.0
    seed: int = 1
    snapshot_every: int = 50
    chunk: int = 512

    def __post_init__(self) -> None:
        require(self.tokens > 0, "tokens must be above 0")
        require(self.sequence_length > 1, "sequence_length must be above 1")
        require(self.batch_size > 0, "batch_size must be above 0")
        require(self.temperature > 0, "temperature must be above 0")
        require(0 <= self.ce_weight <= 1, "ce_weight must be from 0 to 1")
        require(self.hidden_weight >= 0, "hidden_weight must not be below 0")
        require(self.spike_factor > 1, "spike_factor must be above 1")
        require(0 <= self.warmup < 1, "warmup is a share of the steps")
        require(self.snapshot_every > 0, "snapshot_every must be above 0")
        require(self.chunk > 0, "chunk must be above 0")

    @property
    def loss(self) -> dict[str, Any]:
        """What `distillation_loss` is told."""
        return {
            "temperature": self.temperature,
            "ce_weight": self.ce_weight,
            "hidden_weight": self.hidden_weight,
            "chunk": self.chunk,
        }


class DistillTrainer(ResumableTrainer, Trainer):
    """Trainer whose loss compares the student with a teacher."""

    known: KnownStates | None = None

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        # fully_shard averages gradients over ranks; the count is that of all ranks.
        count = num_items_in_batch / distributed.world_size()
        result = model(inputs, count, None if self.known is None else self.known.of(inputs))
        return (result.loss, {}) if return_outputs else result.loss

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        if not distributed.is_sharded():
            super()._move_model_to_device(model, device)


def train(
    job: Job, settings: DistillSettings, pair: Pair, stored: StoredRows, data: list[str]
) -> Session:
    """Train the pair's student in place. `data`: digests of the data sets."""
    chosen = planning.plan(
        stored.sizes,
        tokens=settings.tokens,
        batch=settings.batch_size,
        seed=settings.seed,
        data=data,
    )
    args = _arguments(job, settings, chosen.steps, pair.context)
    rows = planning.PlannedRows(stored, chosen, args.per_device_train_batch_size, pair.context)
    trainer = DistillTrainer(
        model=pair, args=args, train_dataset=rows, data_collator=planning.collate
    )
    if worth_keeping(stored.trained_tokens, pair.width, chosen.passes):
        trainer.known = KnownStates(pair, rows.rows, len(stored))
    guard = SpikeGuard(factor=settings.spike_factor)
    session = Session(
        job=job,
        snapshot_every=settings.snapshot_every,
        data_digest=chosen.digest,
        consumed_at=lambda step: chosen.consumed[step],
        probe=lambda: _probe(trainer, rows, len(stored)),
        curve=lambda logs: {
            "loss": logs["loss"],
            "tokens": chosen.consumed[trainer.state.global_step],
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs["grad_norm"]),
        },
        spikes={"loss": guard, "grad_norm": guard},
    )
    trainer.attach(session, pair.trainable())
    trainer.run()
    return session


@torch.no_grad()
def _probe(trainer: DistillTrainer, rows: planning.PlannedRows, stored: int) -> float:
    """Loss over the first rows of the data, whatever the plan."""
    pair: Any = trainer.model
    chosen = list(range(min(PROBE_ROWS, stored)))
    supervised = int((rows.rows(chosen)["labels"] != planning.IGNORED).sum())
    part = None if pair.context is None else pair.context.index
    target = distributed.device()
    batch = {name: value.to(target) for name, value in rows.rows(chosen, part).items()}
    was_training = pair.training
    pair.eval()
    known = None if trainer.known is None else trainer.known.of(batch)
    loss = float(pair(batch, max(supervised, 1), known).loss)
    pair.train(was_training)
    sharing = 1 if pair.context is None else pair.context.ranks
    return distributed.sum_over_ranks(loss) * sharing / distributed.world_size()


def _arguments(
    job: Job, settings: DistillSettings, steps: int, context: Context | None
) -> TrainingArguments:
    sharing = 1 if context is None else context.ranks
    rows = distributed.world_size() // sharing  # rows that are read at once
    micro = int(job.resources.get("micro_batch") or settings.batch_size // rows)
    if micro < 1 or settings.batch_size % (micro * rows):
        raise StageFailure(
            "BAD_INPUT",
            f"batch_size {settings.batch_size} is not micro_batch {micro} x {rows} processes x n",
        )
    return TrainingArguments(
        **common_arguments(job, settings.seed),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch_size // (micro * rows),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule
        if settings.schedule != "constant"
        else "constant_with_warmup",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        train_sampling_strategy="sequential",
    )
