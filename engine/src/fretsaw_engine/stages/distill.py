"""Stage `distill`: the student learns the teacher's distribution over the teacher's own answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fretsaw_engine.data.packed import read_dataset
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.assemble.verify import verify_experts
from fretsaw_engine.methods.distill.rows import join
from fretsaw_engine.methods.distill.train import DistillSettings, train
from fretsaw_engine.moe.checkpoint import load_model
from fretsaw_engine.training import distributed
from fretsaw_engine.training.determinism import make_deterministic
from fretsaw_engine.training.export import export_checkpoint
from fretsaw_engine.training.frozen import trainable_parameters
from fretsaw_engine.training.settings import read_settings

if TYPE_CHECKING:
    from fretsaw_engine.data.packed import Packed
    from fretsaw_engine.job import Job


def run(job: Job) -> None:
    settings = read_settings(DistillSettings, job.settings)
    make_deterministic(settings.seed, job.threads)
    distributed.start()
    _check_kept(job)
    packed = join(_rows(job), settings.sequence_length)
    teacher = load_model(job.input("teacher").path)
    student = load_model(job.input("student").path)
    if teacher.config.vocab_size != student.config.vocab_size:
        raise StageFailure(
            "BAD_INPUT",
            f"teacher has {teacher.config.vocab_size} words, student {student.config.vocab_size}",
        )
    student, session = train(job, settings, teacher, student, packed)
    export_checkpoint(
        job.outputs["checkpoint"], job.input("student").path, trainable_parameters(student)
    )
    if distributed.rank() == 0:
        session.write_records(job.outputs["curves"], "curves")


def _check_kept(job: Job) -> None:
    """With the kept-expert map: the student's experts and routers are the teacher's, byte for
    byte.
    """
    kept = job.optional_input("kept")
    if kept is None or distributed.rank() != 0:
        return
    try:
        document = json.loads((kept.path / "kept.json").read_text(encoding="utf-8"))
        layers = document["layers"]
    except (OSError, ValueError, KeyError) as error:
        raise StageFailure("BAD_INPUT", f"kept-expert map {kept.path}: {error}") from error
    verify_experts(job.input("student").path, job.input("teacher").path, layers)


def _rows(job: Job) -> list[Packed]:
    parts = []
    for artifact in job.input_list("data"):
        packed = read_dataset(artifact.path).packed
        if packed is not None:
            parts.append(packed)
    return parts
