"""Distillation on a CUDA device: what the CPU's tests cannot see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from training_rig import (
    KEEP,
    load_job,
    write_answers,
    write_child,
    write_job,
    write_parent,
    write_prompts,
)

from fretsaw_engine.data.stored import StoredRows
from fretsaw_engine.job import run_job
from fretsaw_engine.methods.distill.load import load_pair
from fretsaw_engine.methods.distill.rows import IGNORED, PlannedRows, plan
from fretsaw_engine.stages import distill, generate, reinforce
from fretsaw_engine.training import distributed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="no CUDA device here: bfloat16, flex_attention's kernel and NCCL are not tried",
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("gpu")
    parent = write_parent(root / "parent")
    return {
        "teacher": parent,
        "student": write_child(root / "child", parent),
        "data": [write_answers(root / "answers", 24)],
    }


def _loss(inputs: dict[str, Any], **settings: Any) -> tuple[float, dict[str, torch.Tensor]]:
    pair = load_pair(inputs["teacher"], inputs["student"], KEEP, **settings)
    stored = StoredRows(inputs["data"], 80)
    chosen = plan(stored.sizes, tokens=100, batch=4, seed=1, data=[])
    batch = PlannedRows(stored, chosen).rows([0, 1, 2, 3])
    batch = {name: value.to(distributed.device()) for name, value in batch.items()}
    found = pair(batch, float((batch["labels"] != IGNORED).sum())).loss
    found.backward()
    gradients = {
        name: distributed.whole(p.grad).float().cpu()  # type: ignore[arg-type]
        for name, p in pair.trainable().items()
    }
    return float(found), gradients


@pytest.mark.parametrize("recompute", [False, True])
def test_loss_and_gradients_are_near_those_of_the_cpu(
    inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, recompute: bool
) -> None:
    distributed.start()
    ours, mine = _loss(inputs, recompute=recompute)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    theirs, expected = _loss(inputs)
    assert ours == pytest.approx(theirs, rel=0.05)
    for name, gradient in expected.items():
        cosine = torch.cosine_similarity(mine[name].flatten(), gradient.flatten(), dim=0)
        assert float(cosine) > 0.98, name


def test_the_stages_that_train_and_generate_run_to_their_end(
    inputs: dict[str, Any], tmp_path: Path
) -> None:
    prompts = write_prompts(tmp_path / "prompts", 8)
    short = {"effort": "high", "max_new_tokens": 8}
    rl = {"variant": "high", "steps": 2, "max_new_tokens": 8, "group_size": 4}
    for kind, stage, settings, given, outputs in (
        (
            "distill",
            distill,
            {"tokens": 2000, "sequence_length": 80},
            inputs,
            ["checkpoint", "curves"],
        ),
        (
            "generate",
            generate,
            short,
            {"model": inputs["teacher"], "prompts": prompts},
            ["data", "capped"],
        ),
        (
            "reinforce",
            reinforce,
            rl,
            {"model": inputs["student"], "prompts": prompts},
            ["checkpoint", "curves", "samples"],
        ),
    ):
        job = load_job(write_job(tmp_path / kind, kind, settings, given, outputs))
        assert run_job(job, stage.run) == 0, (tmp_path / kind / "events.jsonl").read_text()[-2000:]
