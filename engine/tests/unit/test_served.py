"""A server must serve the checkpoint that a stage names: told by its log probabilities."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rollout_server import RolloutServer
from training_rig import (
    events,
    examples,
    load_job,
    write_child,
    write_job,
    write_parent,
    write_prompts,
)

from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.job import run_job
from fretsaw_engine.methods.generate.answers import question_of
from fretsaw_engine.methods.generate.decode import Sampling, decode
from fretsaw_engine.methods.generate.served import log_probs
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.moe.checkpoint import load_model
from fretsaw_engine.stages import generate, reinforce

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIGEST = "sha256:" + "0" * 64  # what the rig calls every input


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    return write_child(root / "child", write_parent(root / "parent"))


def _generate(folder: Path, model: Path, **rollout: Any) -> Path:
    settings = {"effort": "medium", "max_new_tokens": 6, "rollout": _server(rollout)}
    inputs = {"model": model, "prompts": write_prompts(folder / "prompts", 10)}
    return write_job(folder, "generate", settings, inputs, ["data", "capped"])


def _reinforce(folder: Path, model: Path, **rollout: Any) -> Path:
    settings = {"variant": "high", "steps": 1, "max_new_tokens": 6, "rollout": _server(rollout)}
    inputs = {"model": model, "prompts": write_prompts(folder / "prompts", 10)}
    return write_job(folder, "reinforce", settings, inputs, ["checkpoint", "curves", "samples"])


def _server(more: dict[str, Any]) -> dict[str, Any]:
    return {"engine": "server", "url": {"secret": "ROLLOUT_URL"}, "concurrency": 4, **more}


def _other_seed(child: Path, tmp_path: Path) -> Any:
    return load_model(write_child(tmp_path / "other", write_parent(tmp_path / "other-parent", 2)))


def _one_expert_less(child: Path, tmp_path: Path) -> Any:
    """As if one of 26 experts had not been kept."""
    model = load_model(child)
    with torch.no_grad():
        model.model.layers[2].mlp.router.bias[1] = -1e4
    return model


def _attention_moved(child: Path, tmp_path: Path) -> Any:
    model = load_model(child)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "proj.weight" in name and "self_attn" in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter += 0.1 * parameter.std() * noise
    return model


@torch.no_grad()
def test_log_probabilities_read_layer_by_layer_are_those_of_the_model(child: Path) -> None:
    model, renderer = load_model(child), rehearsal_renderer()
    prompts = [renderer.prompt(question_of(example), "high") for example in examples(5)]
    answers = decode(model, prompts, list(range(5)), Sampling(max_new_tokens=9), [60, 61, 62], 0)
    with Parent(folder=child, budget_bytes=0) as parent:
        exact, rounded = log_probs(parent, prompts, answers)
    said = torch.tensor([value for answer in answers for value in answer.log_probs])
    torch.testing.assert_close(exact, said, rtol=1e-4, atol=1e-5)
    assert 1e-5 < float((rounded - exact).abs().mean()) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_checkpoint_itself_is_believed_in_any_precision(
    child: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    with RolloutServer(load_model(child, dtype), DIGEST) as server:
        monkeypatch.setenv("ROLLOUT_URL", server.url)
        job_file = _generate(tmp_path / "job", child)
        assert run_job(load_job(job_file), generate.run) == 0, events(job_file)[-1]


@pytest.mark.parametrize("make", [_other_seed, _one_expert_less, _attention_moved])
@pytest.mark.parametrize("stage", [generate, reinforce])
def test_another_checkpoint_is_refused_before_it_is_asked_anything_that_counts(
    child: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path, Path], Any],
    stage: Any,
) -> None:
    with RolloutServer(make(child, tmp_path)) as server:
        monkeypatch.setenv("ROLLOUT_URL", server.url)
        lay_out = _generate if stage is generate else _reinforce
        job_file = lay_out(tmp_path / "job", child)
        assert run_job(load_job(job_file), stage.run) == 1
        failure = events(job_file)[-1]
        assert failure["code"] == "DIGEST_MISMATCH", failure
        assert failure["details"]["gap"] > failure["details"]["limit"]
        assert len(server.asked) == failure["details"]["answers"] <= 8
        tolerant = lay_out(tmp_path / "tolerant", child, tolerance=10)
        run_job(load_job(tolerant), stage.run)
        assert events(tolerant)[-1].get("code") != "DIGEST_MISMATCH"


def test_a_server_that_names_another_digest_is_not_even_asked(
    child: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RolloutServer(load_model(child), "sha256:" + "f" * 64) as server:
        monkeypatch.setenv("ROLLOUT_URL", server.url)
        job_file = _generate(tmp_path / "job", child)
        assert run_job(load_job(job_file), generate.run) == 1
        failure = events(job_file)[-1]
        assert failure["code"] == "DIGEST_MISMATCH"
        assert "fff" in failure["message"]
        assert server.asked == []


def test_a_training_that_goes_on_does_not_ask_a_server_for_the_weights_of_its_start(
    child: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RolloutServer(_other_seed(child, tmp_path)) as server:
        monkeypatch.setenv("ROLLOUT_URL", server.url)
        job_file = _reinforce(tmp_path / "job", child)
        document = json.loads(job_file.read_text())
        document["resume"] = {"path": str(tmp_path / "00000001"), "step": 1}
        job_file.write_text(json.dumps(document))
        run_job(load_job(job_file), reinforce.run)
        assert server.asked == []
        assert events(job_file)[-1]["code"] != "DIGEST_MISMATCH"
