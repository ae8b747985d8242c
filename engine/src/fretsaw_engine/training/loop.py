"""What every training here adds to a Hugging Face trainer: own snapshots, proof of resume,
guards, curves.

`ResumableTrainer` is mixed in before Trainer or GRPOTrainer. It takes part at the places where
the Trainer itself saves and loads (`_save_checkpoint`, `_load_from_checkpoint`,
`_load_optimizer_and_scheduler`, `_load_rng_state`), so the loop, its skipping of seen batches and
its order of events stay the library's.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, TrainerCallback

from fretsaw_engine.job import StageFailure
from fretsaw_engine.training import distributed, snapshots
from fretsaw_engine.training.frozen import FrozenGuard, trainable_parameters
from fretsaw_engine.training.snapshot_writer import SnapshotWriter
from fretsaw_engine.training.snapshots import TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import torch
    from torch import nn

    from fretsaw_engine.job import Job
    from fretsaw_engine.training.spikes import SpikeGuard

CONTINUED = frozenset({"step of the folder", "step", "optimizer norm"})
"""What must agree with a snapshot of another key."""

TRAINER_STATE = "trainer_state.json"
"""The name under which TrainerState looks for its own part."""


@dataclass(kw_only=True)
class Session:
    """What a training is about, beside the model: where it reports, and what it must agree with
    when resumed.
    """

    job: Job
    snapshot_every: int
    data_digest: str
    consumed_at: Callable[[int], int]
    """Training tokens (RL: answers) consumed after so many steps: from the plan alone."""
    probe: Callable[[], float]
    """Loss on a fixed batch; must touch neither generators nor gradients."""
    curve: Callable[[dict[str, float]], dict[str, float]]
    """Picks and names what a step's log shows."""
    spikes: dict[str, SpikeGuard] = field(default_factory=dict)
    """Figure of the curve -> the guard that watches it."""
    records: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"curves": []})
    """JSON-lines outputs grown during training; they are part of a snapshot."""

    def record_texts(self) -> dict[str, str]:
        """File name -> JSON lines of every record."""
        return {
            f"{name}.jsonl": "".join(f"{json.dumps(row, sort_keys=True)}\n" for row in rows)
            for name, rows in self.records.items()
        }

    def write_records(self, folder: Path, name: str) -> None:
        file = f"{name}.jsonl"
        (folder / file).write_text(self.record_texts()[file], encoding="utf-8")

    def read_records(self, folder: Path) -> None:
        for name in self.records:
            lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
            self.records[name] = [json.loads(line) for line in lines]


class ResumableTrainer:
    """Mixin; call `attach` before `train`."""

    session: Session
    guard: FrozenGuard
    _parameters: dict[str, nn.Parameter]

    def attach(
        self: Any, session: Session, parameters: dict[str, nn.Parameter] | None = None
    ) -> None:
        """`parameters`: what trains, by the names that a snapshot gives it; the model's own names
        when nothing is said."""
        self.session = session
        self._parameters = trainable_parameters(self.model) if parameters is None else parameters
        self.guard = FrozenGuard(self.model)
        self._writer = SnapshotWriter(session.job)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Reporter(session))

    def run(self: Any) -> None:
        """Train from the job's snapshot, if it has one, to the end. No snapshot is under way
        afterwards, and nothing frozen has moved."""
        try:
            self.train(resume_from_checkpoint=self.resume_folder())
        finally:
            self._writer.join()
        self._writer.wait()
        self.guard.check(self.state.global_step)

    @contextmanager
    def _defer_fsdp_gradient_reduction(self: Any) -> Iterator[None]:
        """Micro-batches that accumulate reduce their gradients at once: to defer it would leave
        whole gradients of all that trains on every rank. (The Trainer's own asks the model's config
        for how transformers sharded it, which it did not.)"""
        yield

    # ---- guards

    def training_step(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        self._must_be_finite("loss", float(loss))
        return loss

    def _get_grad_norm(self: Any, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[misc]
        norm = distributed.whole(norm) if hasattr(norm, "dim") else norm
        self._must_be_finite("gradient norm", float(norm))
        return norm

    def _must_be_finite(self: Any, name: str, value: float) -> None:
        if not math.isfinite(value):
            step = self.state.global_step + 1
            raise StageFailure("NAN_LOSS", f"{name} is {value} in step {step}", {"step": step})

    # ---- snapshots

    def _save_checkpoint(self: Any, model: Any, trial: Any = None) -> None:
        """A snapshot of ours, at the place where the Trainer would write its own. Training goes on
        while it is written."""
        step = self.state.global_step
        state = self._training_state(step)
        self._writer.start(
            step,
            (self._parameters, self.optimizer),
            {
                snapshots.STATE: snapshots.state_text(state, _scheduler_state(self.lr_scheduler)),
                TRAINER_STATE: _trainer_state(self.state),
                **self.session.record_texts(),
            },
            {"consumed": state.consumed, "probe": state.probe},
        )
        if distributed.any_rank(self.session.job.should_stop):
            self._writer.wait()
            raise StageFailure("PREEMPTED", f"asked to stop; snapshot at step {step}")

    def _training_state(self: Any, step: int) -> TrainingState:
        digest = self.guard.check(step)
        return TrainingState(
            step=step,
            consumed=self.session.consumed_at(step),
            learning_rate=float(self.lr_scheduler.get_last_lr()[0]),
            optimizer_norm=snapshots.optimizer_norm(self.optimizer),
            probe=self.session.probe(),
            data=self.session.data_digest,
            ranks=distributed.world_size(),
            frozen=digest,
        )

    # ---- resume

    def resume_folder(self: Any) -> str | None:
        """What `train(resume_from_checkpoint=...)` is to be given."""
        resume = self.session.job.resume
        if resume is None:
            return None
        if not (resume.path / TRAINER_STATE).is_file():
            raise StageFailure("RESUME_DRIFT", f"snapshot {resume.path}: no {TRAINER_STATE}")
        return str(resume.path)

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = _path(resume_from_checkpoint)
        snapshots.read_weights(folder, self._parameters)
        self.session.read_records(folder)

    def _load_optimizer_and_scheduler(self: Any, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        path = _path(checkpoint)
        snapshots.read_optimizer(path, self._parameters, self.optimizer)
        saved, scheduler = snapshots.read_state(path)
        if self.session.job.continues:  # its own rates, at the step of the snapshot
            scheduler = _at_step(self.lr_scheduler, saved.step)
        self.lr_scheduler.load_state_dict(scheduler)
        for group, rate in zip(
            self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True
        ):
            group["lr"] = rate
        self._prove_resume(saved)

    def _load_rng_state(self: Any, checkpoint: str | None) -> None:
        if checkpoint is not None:
            snapshots.read_random_state(_path(checkpoint))

    def _prove_resume(self: Any, saved: TrainingState) -> None:
        """Compare what is now in memory, and what the plan says, with what was saved."""
        resume = self.session.job.resume
        continues = self.session.job.continues
        planned = self.lr_scheduler.base_lrs[0] * self.lr_scheduler.lr_lambdas[0](saved.step)
        now = self._training_state(self.state.global_step)
        faults = [
            _differs("step of the folder", saved.step, resume.step, 0),
            _differs("step", saved.step, now.step, 0),
            _differs("data position", saved.consumed, now.consumed, 0),
            _differs("data order", saved.data, now.data, 0),
            _differs("learning rate", saved.learning_rate, now.learning_rate, 1e-12),
            _differs("planned learning rate", saved.learning_rate, planned, 1e-9),
            _differs("optimizer norm", saved.optimizer_norm, now.optimizer_norm, 1e-6),
            _differs("probe loss", saved.probe, now.probe, 1e-4),
        ]
        if continues:  # what was trained must be the same, what is to come need not
            faults = [f for f in faults if f is None or f["what"] in CONTINUED]
        if saved.ranks == now.ranks:  # shards differ between world sizes
            mine = distributed.from_first(now.frozen)
            faults.append(_differs("router and experts", saved.frozen, mine, 0))
        if found := [fault for fault in faults if fault is not None]:
            raise StageFailure(
                "RESUME_DRIFT",
                f"snapshot {resume.path} is not where this training was: "
                + "; ".join(f"{f['what']}: saved {f['saved']}, now {f['now']}" for f in found),
                {"faults": found},
            )


class _Reporter(TrainerCallback):
    """Progress, metrics and curves; decides when to take a snapshot."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._started = (time.monotonic(), 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = (time.monotonic(), state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        session = self._session
        asked = distributed.any_rank(session.job.should_stop)
        due = state.global_step % session.snapshot_every == 0
        if asked or (due and state.global_step < state.max_steps):
            control.should_save = True
        begun, first = self._started
        rate = (state.global_step - first) / max(time.monotonic() - begun, 1e-9)
        session.job.progress(state.global_step, state.max_steps, "steps", rate)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        state.log_history.clear()  # it would grow with every step and go into every snapshot
        if not logs or "loss" not in logs:
            return
        step = state.global_step
        session = self._session
        values = session.curve(logs)
        session.job.metrics(step, values)
        for name, guard in session.spikes.items():
            before = [row[name] for row in session.records["curves"][-guard.window :]]
            guard.check(name, step, before, values[name])
        session.records["curves"].append({"step": step, **values})


def common_arguments(job: Job, seed: int) -> dict[str, Any]:
    """TrainingArguments that all trainings share: the loop only, none of the Trainer's own saving
    or reporting.
    """
    on_gpu = distributed.device().type == "cuda"
    return {
        "output_dir": str(job.folder / "trainer"),
        "seed": seed,
        "use_cpu": not on_gpu,
        "bf16": False,  # TRL's default is autocast; precision here is that of fully_shard
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": on_gpu,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
    }


def _differs(what: str, saved: Any, now: Any, tolerance: float) -> dict[str, Any] | None:
    if isinstance(saved, str) or tolerance == 0:
        same = saved == now
    else:
        same = math.isclose(saved, now, rel_tol=tolerance, abs_tol=tolerance * 1e-3)
    return None if same else {"what": what, "saved": saved, "now": now}


def _trainer_state(state: Any) -> str:
    """As TrainerState itself writes it, and reads it again when resumed."""
    return json.dumps(dataclasses.asdict(state), indent=2, sort_keys=True) + "\n"


def _scheduler_state(scheduler: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    return {k: v for k, v in scheduler.state_dict().items() if k != "lr_lambdas"} | {
        "lr_lambdas": [None] * len(scheduler.base_lrs)
    }


def _at_step(scheduler: torch.optim.lr_scheduler.LRScheduler, step: int) -> dict[str, Any]:
    state = _scheduler_state(scheduler)
    shapes: Any = getattr(scheduler, "lr_lambdas")  # noqa: B009 # LambdaLR alone has them
    rates = [base * shape(step) for base, shape in zip(scheduler.base_lrs, shapes, strict=True)]
    return state | {"last_epoch": step, "_step_count": step + 1, "_last_lr": rates}


def _path(folder: str) -> Path:
    from pathlib import Path

    return Path(folder)
