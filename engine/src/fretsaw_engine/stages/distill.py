"""Stage `distill`: the student learns the teacher's distribution over the teacher's own answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fretsaw_engine.data.stored import StoredRows
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.assemble.verify import verify_experts
from fretsaw_engine.methods.distill.load import load_pair
from fretsaw_engine.methods.distill.train import DistillSettings, train
from fretsaw_engine.training import distributed
from fretsaw_engine.training.determinism import make_deterministic
from fretsaw_engine.training.export import export_checkpoint
from fretsaw_engine.training.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from fretsaw_engine.job import Job


def run(job: Job) -> None:
    settings = read_settings(DistillSettings, job.settings)
    make_deterministic(settings.seed, job.threads)
    distributed.start()
    data = job.input_list("data")
    stored = distributed.made_by_first(
        lambda: StoredRows([artifact.path for artifact in data], settings.sequence_length)
    )
    teacher, student = job.input("teacher").path, job.input("student").path
    pair = load_pair(
        teacher,
        student,
        _kept(job),
        recompute=bool(job.resources.get("recompute_activations")),
        context=distributed.context(int(job.resources.get("context_parallel") or 1)),
        **settings.loss,
    )
    session = train(job, settings, pair, stored, [artifact.digest for artifact in data])
    export_checkpoint(job.outputs["checkpoint"], student, pair.trainable())
    if distributed.rank() == 0:
        session.write_records(job.outputs["curves"], "curves")


def _kept(job: Job) -> list[list[int]]:
    """The teacher's numbers of the student's experts, by layer. Proven from the files: the
    student's experts and routers are the teacher's, byte for byte."""

    def proven() -> list[list[int]]:
        kept = job.optional_input("kept")
        layers = None if kept is None else read_kept(kept.path)
        return verify_experts(job.input("student").path, job.input("teacher").path, layers)

    return distributed.made_by_first(proven)


def read_kept(folder: Path) -> list[list[int]]:
    """The kept-expert map of `assemble`."""
    try:
        return json.loads((folder / "kept.json").read_text(encoding="utf-8"))["layers"]
    except (OSError, ValueError, KeyError) as error:
        raise StageFailure("BAD_INPUT", f"kept-expert map {folder}: {error}") from error
