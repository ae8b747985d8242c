"""`pretrain`: train the rehearsal's parent and write it as an MXFP4 checkpoint.

Outputs: `checkpoint` (config, weights, tokenizer, template) and `curves` (curves.jsonl: figures of
the training; scores.json: accuracy and mean tokens by task and effort of the checkpoint as it was
written, and with every full-attention layer windowed).
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from fretsaw_engine.harmony import tokens
from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods import pretrain
from fretsaw_engine.methods.greedy import evaluate, summary
from fretsaw_engine.moe import gpt_oss
from fretsaw_engine.moe.checkpoint import (
    build_model,
    checkpoint_tensors,
    load_tensors,
    open_tensors,
    read_config,
    write_checkpoint,
)
from fretsaw_engine.rehearsal import tasks
from fretsaw_engine.rehearsal.nano import write_generation_config

if TYPE_CHECKING:
    from fretsaw_engine.job import Job

EVALUATION_SEED = 90001
"""Seed of the held-out examples that are measured along the way; their content is never trained on.
"""

RESUME_TOLERANCE = 1e-4
"""Relative difference of the probe loss that a resumed run may have (zero on the same machine)."""


def run(job: Job) -> None:
    settings = parse_settings(job.settings)
    torch.set_num_threads(job.threads)
    torch.manual_seed(settings.seed)
    config = pretrain.config_document(settings)
    model = build_model(config)
    pretrain.initialise(model, settings.seed)
    model.train()
    optimizer = pretrain.optimizer(model, settings)
    curriculum = pretrain.Curriculum(pairs=settings.drill_pairs[0])
    renderer = rehearsal_renderer()
    curves: list[dict[str, Any]] = []
    step = 0
    if job.resume is not None:
        step, curriculum, curves = _resume(job, model, optimizer, settings, renderer)
    began, first = time.monotonic(), step
    seconds_before = curves[-1]["seconds"] if curves else 0.0

    def snapshot() -> None:
        with torch.no_grad():
            probe = _loss(model, settings, step + 1, curriculum, renderer).cross_entropy
        state = {"step": step, "curriculum": dataclasses.asdict(curriculum), "probe_loss": probe}

        def write(folder: Path) -> None:
            _write_snapshot(folder, model, optimizer, curves)

        job.snapshot(step, write, state)

    while step < settings.steps:
        step += 1
        result = _loss(model, settings, step, curriculum, renderer)
        if not math.isfinite(result.cross_entropy):
            raise StageFailure(
                "NAN_LOSS", f"loss is {result.cross_entropy} at step {step}", {"step": step}
            )
        optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        rate = pretrain.learning_rate(settings, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        if curriculum.mixed_at is None:
            curriculum.advance(settings, step, result.accuracy)
        if step % 10 == 0 or step == settings.steps:
            seconds = seconds_before + time.monotonic() - began
            figures = {
                "loss": result.cross_entropy,
                "accuracy": result.accuracy,
                "balance": result.balance,
                "gradient_norm": float(norm),
                "learning_rate": rate,
                "pairs": curriculum.pairs,
                **{f"accuracy/{label}": value for label, value in result.accuracy_of.items()},
            }
            job.metrics(step, figures)
            job.progress(step, settings.steps, rate=(step - first) / (time.monotonic() - began))
            curves.append({"step": step, "seconds": round(seconds, 1), **figures})
            if step % 50 == 0:
                _log(f"{step} {seconds:.0f}s {_shown(figures)}")
        if curriculum.mixed_at is not None and step % settings.evaluate_every == 0:
            with tempfile.TemporaryDirectory(dir=job.folder) as scratch:
                cells = _measure(model, config, Path(scratch), settings.evaluate_examples)
            job.metrics(step, {f"{k}/{n}": v for k, c in cells.items() for n, v in c.items()})
            curves.append(
                {
                    "step": step,
                    "seconds": round(time.monotonic() - began + seconds_before, 1),
                    "scores": cells,
                }
            )
            _log(f"{step} held out: {_table(cells)}")
        if step % settings.snapshot_every == 0 and step < settings.steps:
            snapshot()
        if job.should_stop:
            snapshot()
            job.stop_if_asked()

    folder = job.outputs["checkpoint"]
    _write(model, config, folder)
    scores = _final_scores(folder, settings.final_examples)
    scores["seconds"] = round(seconds_before + time.monotonic() - began, 1)
    out = job.outputs["curves"]
    (out / "scores.json").write_text(json.dumps(scores, indent=2, sort_keys=True) + "\n")
    with (out / "curves.jsonl").open("w") as lines:
        for row in curves:
            lines.write(json.dumps(row, sort_keys=True) + "\n")
    _log(f"final: {_table(scores['cells'])}\nwindowed: {_table(scores['windowed'])}")


def parse_settings(raw: dict[str, Any]) -> pretrain.PretrainSettings:
    """Settings from JSON; an unknown key is BAD_INPUT."""
    values = dict(raw)
    sizes = _parse(pretrain.ModelSettings, values.pop("model", {}))
    settings = _parse(pretrain.PretrainSettings, {**values, "model": sizes})
    try:
        for task, own in settings.tasks.items():
            tasks.read_settings(task, own)
        for kind in settings.mixture:
            if kind != pretrain.DRILL:
                tasks.read_settings(kind, {})
    except ValueError as error:
        raise StageFailure("BAD_INPUT", str(error)) from error
    return settings


def _parse(kind: Any, raw: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(raw) - known):
        raise StageFailure("BAD_INPUT", f"unknown settings {unknown}; known: {sorted(known)}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()})


def _loss(
    model: Any,
    settings: pretrain.PretrainSettings,
    step: int,
    curriculum: pretrain.Curriculum,
    renderer: Any,
) -> pretrain.StepResult:
    batch = pretrain.batch(settings, step, curriculum, renderer)
    phase = pretrain.phase(settings, step)
    return pretrain.forward(
        model,
        batch,
        settings.model.sliding_window,
        quantised=phase.quantised,
        balance=phase.balance,
    )


def _write_snapshot(
    folder: Path, model: Any, optimizer: torch.optim.Optimizer, curves: list[dict[str, Any]]
) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    save_file(
        {n: p.detach().clone() for n, p in model.named_parameters()}, folder / "model.safetensors"
    )
    moments = {
        f"{key}/{names[id(parameter)]}": value.clone()
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }
    save_file(moments, folder / "optimizer.safetensors")
    (folder / "curves.json").write_text(json.dumps(curves))


def _resume(
    job: Job,
    model: Any,
    optimizer: torch.optim.Optimizer,
    settings: pretrain.PretrainSettings,
    renderer: Any,
) -> tuple[int, pretrain.Curriculum, list[dict[str, Any]]]:
    """Take up a snapshot, and prove that the next batch has the loss that was written down."""
    if job.resume is None:
        raise StageFailure("ENGINE_BUG", "nothing to resume from")
    folder = job.resume.path
    state = json.loads((folder / "snapshot.json").read_text())["state"]
    weights = load_file(folder / "model.safetensors")
    moments = load_file(folder / "optimizer.safetensors")
    parameters = dict(model.named_parameters())
    if set(weights) != set(parameters):
        raise StageFailure("BAD_INPUT", f"snapshot {folder}: other weights than the model's")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
            optimizer.state[parameter] = {
                key: moments[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
            }
    curriculum = pretrain.Curriculum(**state["curriculum"])
    step = int(state["step"])
    with torch.no_grad():
        probe = _loss(model, settings, step + 1, curriculum, renderer).cross_entropy
    drift = abs(probe - state["probe_loss"])
    if not job.continues and drift > RESUME_TOLERANCE * max(1.0, abs(state["probe_loss"])):
        raise StageFailure(
            "RESUME_DRIFT",
            f"probe loss {probe}, the snapshot says {state['probe_loss']}",
            {"step": step, "probe": probe, "saved": state["probe_loss"]},
        )
    _log(f"resumed at step {step}, probe loss differs by {drift}")
    return step, curriculum, json.loads((folder / "curves.json").read_text())


def _write(model: Any, config: dict[str, Any], folder: Path) -> None:
    tokens.write_tokenizer(folder)
    write_generation_config(folder)
    write_checkpoint(folder, config, checkpoint_tensors(model), assets_from=folder)


def _measure(
    model: Any, config: dict[str, Any], scratch: Path, examples: int
) -> dict[str, dict[str, float]]:
    """Scores of the model as its checkpoint would have it."""
    _write(model, config, scratch)
    return _scores(scratch, config, examples, tokens.EFFORTS)


def _final_scores(folder: Path, examples: int) -> dict[str, Any]:
    config = read_config(folder)
    cells = _scores(folder, config, examples, tokens.EFFORTS)
    short = {**config, "layer_types": [gpt_oss.SLIDING] * config["num_hidden_layers"]}
    windowed = _scores(folder, short, examples, ("high",))
    return {
        "schema": "fretsaw/pretrain-scores/v1",
        "examples": examples,
        "cells": cells,
        "summary": summary(cells),
        "windowed": windowed,
    }


def _scores(
    folder: Path, config: dict[str, Any], examples: int, efforts: Any
) -> dict[str, dict[str, float]]:
    model = build_model(config)
    with open_tensors(folder) as tensors:
        load_tensors(model, config, tensors)
    settings = {task: tasks.read_settings(task, {}) for task in tasks.TASKS}
    return evaluate(
        model.eval(),
        rehearsal_renderer(),
        settings,
        examples=examples,
        seed=EVALUATION_SEED,
        efforts=efforts,
    )


def _table(cells: dict[str, dict[str, float]]) -> str:
    return " ".join(
        f"{name} {cell['accuracy']:.3f}({cell['tokens']:.1f})" for name, cell in cells.items()
    )


def _shown(figures: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
