"""Stage `average`: the weighted average of checkpoints that share router and experts."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.data.packed import read_dataset
from fretsaw_engine.harmony.render import tokenizer_renderer
from fretsaw_engine.job import Artifact, Job, StageFailure
from fretsaw_engine.methods.average.sweep import SweepSettings, best, evaluate, grid, questions
from fretsaw_engine.methods.average.weights import average_tensors, check_configs, shares
from fretsaw_engine.moe.checkpoint import (
    load_model,
    load_tokenizer,
    open_tensors,
    read_config,
    stop_ids,
    write_checkpoint,
)
from fretsaw_engine.training import distributed
from fretsaw_engine.training.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Models:
    """Checkpoints that may be averaged, in the order of their names."""

    names: list[str]
    folders: list[Path]
    config: dict[str, Any]

    def write(self, folder: Path, weights: list[float]) -> None:
        with ExitStack() as stack:
            checkpoints = [stack.enter_context(open_tensors(path)) for path in self.folders]
            if any(c.names() != checkpoints[0].names() for c in checkpoints):
                raise StageFailure("BAD_INPUT", f"{self.names} do not hold the same tensors")
            tensors = average_tensors(self.names, checkpoints, weights)
            write_checkpoint(folder, self.config, tensors, self.folders[0])


def run(job: Job) -> None:
    if unknown := sorted(set(job.settings) - {"weights", "sweep"}):
        raise StageFailure("BAD_INPUT", f"settings: unknown setting {unknown[0]}")
    torch.set_num_threads(job.threads)
    models = read_models(job)
    if (swept := job.settings.get("sweep")) is not None:
        weights = sweep(job, models, read_settings(SweepSettings, swept))
    else:
        weights = shares(models.names, job.settings.get("weights"))
    models.write(job.outputs["checkpoint"], weights)


def sweep(job: Job, models: Models, settings: SweepSettings) -> list[float]:
    """The best weights of the grid; all are in the table `sweep`."""
    if job.settings.get("weights") is not None:
        raise StageFailure("BAD_INPUT", "settings: weights and sweep exclude each other")
    tasks = job.optional_input("tasks")
    if tasks is None:
        raise StageFailure("BAD_INPUT", "a sweep needs the input tasks: questions to choose by")
    first = models.folders[0]
    tokenizer = load_tokenizer(first)
    asked = questions(read_dataset(tasks.path).examples, tokenizer_renderer(tokenizer), settings)
    points = grid(len(models.names), settings.steps)
    rows: list[dict[str, Any]] = []
    for at, weights in enumerate(points):
        tried = job.folder / "tried"
        models.write(tried, weights)
        model = load_model(tried).to(distributed.device())
        figures = evaluate(model, asked, settings, tokenizer, stop_ids(first))
        shutil.rmtree(tried)
        rows.append({"weights": dict(zip(models.names, weights, strict=True)), **figures})
        job.progress(at + 1, len(points), "averages")
        job.stop_if_asked()
    chosen = best(rows)
    document = {
        "schema": "fretsaw/average-sweep/v1",
        "tasks": tasks.digest,
        "chosen": chosen,
        "rows": rows,
    }
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    (job.outputs["sweep"] / "sweep.json").write_text(text, encoding="utf-8")
    return points[chosen]


def read_models(job: Job) -> Models:
    """Input `models`, checked to be of one architecture and one tokenizer."""
    models = named_models(job.inputs.get("models"))
    names = list(models)
    folders = [artifact.path for artifact in models.values()]
    configs = [read_config(folder) for folder in folders]
    check_configs(names, configs)
    if len({(folder / "tokenizer.json").read_bytes() for folder in folders}) != 1:
        raise StageFailure("BAD_INPUT", f"{names} have different tokenizers")
    return Models(names=names, folders=folders, config=configs[0])


def named_models(value: object) -> dict[str, Artifact]:
    """Input `models`, a list or a map. A map is taken in the order of its names, a list has
    numbers."""
    if isinstance(value, dict):
        models = {name: value[name] for name in sorted(value)}
    elif isinstance(value, list):
        models = {f"models[{i}]": artifact for i, artifact in enumerate(value)}
    else:
        models = {}
    if not models or not all(isinstance(artifact, Artifact) for artifact in models.values()):
        raise StageFailure("BAD_INPUT", "input models: expected a list or a map of checkpoints")
    return models
