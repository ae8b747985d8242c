"""Stage `average`: the weighted average of checkpoints that share router and experts."""

from __future__ import annotations

from contextlib import ExitStack

import torch

from fretsaw_engine.job import Artifact, Job, StageFailure
from fretsaw_engine.methods.average.weights import average_tensors, check_configs, shares
from fretsaw_engine.moe.checkpoint import open_tensors, read_config, write_checkpoint


def run(job: Job) -> None:
    if unknown := sorted(set(job.settings) - {"weights"}):
        raise StageFailure("BAD_INPUT", f"settings: unknown setting {unknown[0]}")
    torch.set_num_threads(job.threads)
    models = named_models(job.inputs.get("models"))
    names = list(models)
    weights = shares(names, job.settings.get("weights"))
    folders = [artifact.path for artifact in models.values()]
    configs = [read_config(folder) for folder in folders]
    check_configs(names, configs)
    if len({(folder / "tokenizer.json").read_bytes() for folder in folders}) != 1:
        raise StageFailure("BAD_INPUT", f"{names} have different tokenizers")
    with ExitStack() as stack:
        checkpoints = [stack.enter_context(open_tensors(folder)) for folder in folders]
        if any(c.names() != checkpoints[0].names() for c in checkpoints):
            raise StageFailure("BAD_INPUT", f"{names} do not hold the same tensors")
        write_checkpoint(
            job.outputs["checkpoint"],
            configs[0],
            average_tensors(names, checkpoints, weights),
            folders[0],
        )


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
