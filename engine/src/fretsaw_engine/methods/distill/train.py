"""Distillation: the Hugging Face Trainer as the loop, our loss, our snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import Trainer, TrainingArguments

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.distill import rows as planning
from fretsaw_engine.methods.distill.models import CachedTeacher, Student, Teacher, worth_caching
from fretsaw_engine.training import distributed
from fretsaw_engine.training.frozen import freeze_experts
from fretsaw_engine.training.loop import ResumableTrainer, Session, common_arguments
from fretsaw_engine.training.settings import require

if TYPE_CHECKING:
    from fretsaw_engine.data.packed import Packed
    from fretsaw_engine.job import Job

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
    seed: int = 1
    snapshot_every: int = 50
    chunk: int = 2048

    def __post_init__(self) -> None:
        require(self.tokens > 0, "tokens must be above 0")
        require(self.sequence_length > 1, "sequence_length must be above 1")
        require(self.batch_size > 0, "batch_size must be above 0")
        require(self.temperature > 0, "temperature must be above 0")
        require(0 <= self.ce_weight <= 1, "ce_weight must be from 0 to 1")
        require(0 <= self.warmup < 1, "warmup is a share of the steps")
        require(self.snapshot_every > 0, "snapshot_every must be above 0")
        require(self.chunk > 0, "chunk must be above 0")


class DistillTrainer(ResumableTrainer, Trainer):
    """Trainer whose loss compares the student with a teacher."""

    teacher: Teacher

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        # fully_shard averages gradients over ranks; the count is that of all ranks.
        count = num_items_in_batch / distributed.world_size()
        result = model(inputs, self.teacher.states(inputs), self.teacher.head, count)
        return (result.loss, {}) if return_outputs else result.loss

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        if distributed.world_size() == 1:
            super()._move_model_to_device(model, device)


def train(
    job: Job, settings: DistillSettings, teacher: Any, student: Any, packed: Packed
) -> tuple[Any, Session]:
    """Train `student` (a causal language model) in place; gives it back with the session."""
    chosen = planning.plan(
        packed, tokens=settings.tokens, batch=settings.batch_size, seed=settings.seed
    )
    data = planning.PlannedRows(packed, chosen)
    freeze_experts(student)
    wrapped = Student(
        student,
        temperature=settings.temperature,
        ce_weight=settings.ce_weight,
        chunk=settings.chunk,
    )
    distributed.shard(wrapped, student.model.layers)
    distributed.shard(teacher.model, teacher.model.layers)
    trainer = DistillTrainer(
        model=wrapped,
        args=_arguments(job, settings, chosen.steps),
        train_dataset=data,
        data_collator=planning.collate,
    )
    trainer.teacher = _teacher(teacher, data, chosen)
    session = Session(
        job=job,
        snapshot_every=settings.snapshot_every,
        data_digest=chosen.digest,
        consumed_at=lambda step: chosen.consumed[step],
        probe=lambda: _probe(trainer, data),
        curve=lambda logs: {
            "loss": logs["loss"],
            "tokens": chosen.consumed[trainer.state.global_step],
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs["grad_norm"]),
        },
    )
    trainer.attach(session)
    trainer.train(resume_from_checkpoint=trainer.resume_folder())
    trainer.guard.check(trainer.state.global_step)
    return student, session


def _teacher(model: Any, data: planning.PlannedRows, chosen: planning.Plan) -> Teacher:
    target = distributed.device()
    model = model.to(target) if distributed.world_size() == 1 else model
    supervised = int((data.all_labels != planning.IGNORED).sum())
    width = model.lm_head.weight.shape[1]
    if worth_caching(supervised, width, chosen.passes, distributed.world_size()):
        return CachedTeacher(model, data.rows, len(data.all_labels))
    return Teacher(model)


@torch.no_grad()
def _probe(trainer: DistillTrainer, data: planning.PlannedRows) -> float:
    """Loss over the first rows of the data, whatever the plan."""
    count = min(PROBE_ROWS, len(data.all_labels))
    batch = {k: v.to(distributed.device()) for k, v in data.rows(list(range(count))).items()}
    model: Any = trainer.model
    was_training = model.training
    model.eval()
    supervised = max(int((batch["labels"] != planning.IGNORED).sum()), 1)
    loss = model(batch, trainer.teacher.states(batch), trainer.teacher.head, supervised).loss
    model.train(was_training)
    return float(loss)


def _arguments(job: Job, settings: DistillSettings, steps: int) -> TrainingArguments:
    ranks = distributed.world_size()
    micro = int(job.resources.get("micro_batch") or settings.batch_size // ranks)
    if micro < 1 or settings.batch_size % (micro * ranks):
        raise StageFailure(
            "BAD_INPUT",
            f"batch_size {settings.batch_size} is not micro_batch {micro} x {ranks} processes x n",
        )
    return TrainingArguments(
        **common_arguments(job, settings.seed),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch_size // (micro * ranks),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule
        if settings.schedule != "constant"
        else "constant_with_warmup",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        train_sampling_strategy="sequential",
    )
