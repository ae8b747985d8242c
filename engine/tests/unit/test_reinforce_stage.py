"""The stage `reinforce`: what it plans, what it keeps, and what a crash does to it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from training_rig import (
    events,
    examples,
    load_job,
    output_bytes,
    poison,
    run_killed,
    run_process,
    run_ranks,
    write_child,
    write_job,
    write_parent,
    write_prompts,
)

from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.job import run_job
from fretsaw_engine.methods.generate.decode import decode
from fretsaw_engine.methods.reinforce.prompts import apportion, plan_digest, plan_prompts
from fretsaw_engine.moe.checkpoint import load_model, load_tokenizer, open_tensors
from fretsaw_engine.moe.gpt_oss import is_expert_or_router
from fretsaw_engine.stages import reinforce

SETTINGS: dict[str, Any] = {
    "variant": "mixed",
    "steps": 12,
    "max_new_tokens": 14,
    "group_size": 4,
    "prompts_per_step": 3,
    "learning_rate": 1e-2,
    "kl_beta": 0.05,
    "snapshot_every": 4,
    "sample_every": 5,
    "seed": 3,
    "format_weight": 0.2,
}


@dataclass(frozen=True)
class Rig:
    child: Path
    prompts: Path

    def job(self, folder: Path, resume: Path | None = None, **changed: Any) -> Path:
        model = changed.pop("model", self.child)
        return write_job(
            folder,
            "reinforce",
            {**SETTINGS, **changed},
            {"model": model, "prompts": self.prompts},
            ["checkpoint", "curves", "samples"],
            resume,
        )


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    root = tmp_path_factory.mktemp("reinforce")
    child = write_child(root / "child", write_parent(root / "parent"))
    return Rig(child=child, prompts=write_prompts(root / "prompts", 10))


@pytest.fixture(scope="module")
def whole(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    job_file = rig.job(tmp_path_factory.mktemp("whole"))
    assert run_process(reinforce.run, job_file) == 0
    return job_file


def _lines(job_file: Path, output: str) -> list[dict[str, Any]]:
    text = (job_file.parent / f"out/{output}/{output}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_step_shows_rewards_by_part_lengths_by_effort_and_what_hit_the_cap(
    whole: Path,
) -> None:
    rows = _lines(whole, "curves")
    assert [row["step"] for row in rows] == list(range(1, 13))
    wanted = {
        "reward",
        "reward_correct",
        "reward_format",
        "reward_length",
        "kl",
        "entropy",
        "capped",
    }
    for row in rows:
        assert wanted <= set(row)
        parts = row["reward_correct"] + 0.2 * row["reward_format"] + row["reward_length"]
        assert row["reward"] == pytest.approx(parts, abs=1e-5)
        assert 0 <= row["capped"] <= 1
        assert row["answers"] == row["step"] * 12
        assert 0 <= row["log_prob_gap"] < 1e-4
    efforts = {name for row in rows for name in row if name.startswith("tokens_")}
    assert efforts == {"tokens_low", "tokens_medium", "tokens_high"}
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert rows[-1]["kl"] > 1e-6


def test_samples_are_whole_groups_of_some_steps(whole: Path) -> None:
    rows = _lines(whole, "samples")
    assert Counter(row["step"] for row in rows) == {1: 4, 5: 4, 10: 4}
    assert {"id", "effort", "text", "correct", "format", "length", "tokens", "capped"} <= set(
        rows[0]
    )
    assert len({row["text"] for row in rows[:4]}) > 1


def test_experts_and_router_keep_their_bytes_and_the_rest_trains(rig: Rig, whole: Path) -> None:
    with open_tensors(rig.child) as before, open_tensors(whole.parent / "out/checkpoint") as after:
        assert before.names() == after.names()
        moved = [n for n in before.names() if not torch.equal(before.get(n), after.get(n))]
    assert not any(is_expert_or_router(name) for name in moved)
    assert any("self_attn" in name for name in moved)


def test_the_mixed_variant_learns_to_be_short_where_length_costs(rig: Rig, tmp_path: Path) -> None:
    job_file = rig.job(
        tmp_path / "job",
        steps=20,
        prompts_per_step=4,
        group_size=8,
        max_new_tokens=16,
        efforts={"low": 1, "high": 1},
        length_weight={"low": 1.0},
        kl_beta=0.0,
        learning_rate=2e-2,
    )
    assert run_process(reinforce.run, job_file) == 0
    rows = _lines(job_file, "curves")
    mean = [sum(r["reward_length"] for r in part) / 5 for part in (rows[:5], rows[-5:])]
    assert mean[1] > mean[0] + 0.02
    assert "kl" not in rows[0]


@pytest.mark.parametrize("steps", [2, 6, 10])
def test_killed_at_any_step_the_resumed_run_ends_with_the_same_bytes(
    rig: Rig, whole: Path, tmp_path: Path, steps: int
) -> None:
    snapshot = run_killed(reinforce.run, rig.job(tmp_path / "killed"), after_steps=steps)
    resumed = rig.job(tmp_path / "resumed", resume=snapshot)
    assert run_process(reinforce.run, resumed) == 0
    assert output_bytes(resumed) == output_bytes(whole)


def test_micro_batches_resume_to_the_same_bytes_too(rig: Rig, tmp_path: Path) -> None:
    def job(folder: Path, resume: Path | None = None) -> Path:
        job_file = rig.job(folder, resume, steps=6, snapshot_every=2)
        document = json.loads(job_file.read_text())
        document["resources"]["micro_batch"] = 4
        job_file.write_text(json.dumps(document))
        return job_file

    undisturbed = job(tmp_path / "whole")
    assert run_process(reinforce.run, undisturbed) == 0
    snapshot = run_killed(reinforce.run, job(tmp_path / "killed"), after_snapshots=1)
    resumed = job(tmp_path / "resumed", snapshot)
    assert run_process(reinforce.run, resumed) == 0
    assert output_bytes(resumed) == output_bytes(undisturbed)


def test_a_snapshot_of_another_plan_is_refused(rig: Rig, whole: Path, tmp_path: Path) -> None:
    snapshot = Path(shutil.copytree(whole.parent / "snapshots/00000004", tmp_path / "00000004"))
    job_file = rig.job(tmp_path / "job", resume=snapshot, seed=4)
    assert run_job(load_job(job_file), reinforce.run) == 1
    failure = events(job_file)[-1]
    assert failure["code"] == "RESUME_DRIFT"
    assert "data order" in failure["message"]


def test_a_poisoned_model_stops_at_once_with_nan_loss(rig: Rig, tmp_path: Path) -> None:
    poisoned = Path(shutil.copytree(rig.child, tmp_path / "poisoned"))
    poison(poisoned, "model.layers.2.self_attn.q_proj.weight")
    job_file = rig.job(tmp_path / "job", model=poisoned)
    assert run_job(load_job(job_file), reinforce.run) == 1
    assert events(job_file)[-1]["code"] == "NAN_LOSS"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"variant": "high", "efforts": {"low": 1, "high": 1}}, "high effort only"),
        ({"variant": "mixed", "efforts": {"high": 1}}, "two efforts"),
        ({"efforts": {"lowest": 1}}, "lowest"),
        ({"group_size": 1}, "group_size"),
        ({"steps": 1.5}, "whole number"),
        ({"length_weight": {"low": -1}}, "below 0"),
    ],
)
def test_impossible_settings_are_bad_input(
    rig: Rig, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    job_file = rig.job(tmp_path / "job", **changed)
    assert run_job(load_job(job_file), reinforce.run) == 1
    failure = events(job_file)[-1]
    assert failure["code"] == "BAD_INPUT"
    assert said in failure["message"]


def test_efforts_are_shared_out_to_the_last_prompt() -> None:
    assert apportion(10, {"low": 1, "medium": 1, "high": 1}) == {"low": 4, "medium": 3, "high": 3}
    assert apportion(7, {"low": 0.5, "high": 0.5}) == {"low": 4, "high": 3}
    assert apportion(5, {"high": 1}) == {"high": 5}
    assert apportion(0, {"low": 1, "high": 2}) == {"low": 0, "high": 0}


def test_a_plan_uses_every_prompt_before_it_repeats_one(rig: Rig) -> None:
    tokenizer = load_tokenizer(rig.child)
    listed = examples(10) + examples(10, effort="low")

    def planned(seed: int) -> Any:
        return plan_prompts(
            listed,
            rehearsal_renderer(),
            tokenizer,
            count=25,
            shares={"low": 1, "high": 3},
            seed=seed,
        )

    plan = planned(1)
    assert all(p.text.endswith("<|end|> <|start|> assistant") for p in plan)
    assert not any(" final " in p.text for p in plan)
    assert set(Counter(p.id for p in plan[:10]).values()) == {1}
    assert set(Counter(p.id for p in plan[:20]).values()) == {2}
    assert Counter(p.effort for p in plan) == {"low": 6, "high": 19}
    assert plan_digest(plan) == plan_digest(planned(1)) != plan_digest(planned(2))


def test_answers_of_another_model_than_the_one_that_trains_are_found_out_at_their_step(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"steps": 2, "prompts_per_step": 2, "rollout": {"tolerance": 1e-3}}
    assert run_job(load_job(rig.job(tmp_path / "own", **short)), reinforce.run) == 0
    other = load_model(write_child(tmp_path / "other", write_parent(tmp_path / "parent", 2)))

    def decode_other(model: Any, *args: Any) -> Any:
        return decode(other, *args)

    monkeypatch.setattr("fretsaw_engine.methods.reinforce.train.decode", decode_other)
    job_file = rig.job(tmp_path / "another", **short)
    assert run_job(load_job(job_file), reinforce.run) == 1
    failure = events(job_file)[-1]
    assert failure["code"] == "DIGEST_MISMATCH"
    assert failure["message"].startswith("step 1: ")


def test_recomputed_activations_are_the_same_training(rig: Rig, tmp_path: Path) -> None:
    short = {"steps": 2, "prompts_per_step": 2}
    kept, again = rig.job(tmp_path / "kept", **short), rig.job(tmp_path / "again", **short)
    document = json.loads(again.read_text())
    document["resources"]["recompute_activations"] = 1
    again.write_text(json.dumps(document))
    for job_file in (kept, again):
        assert run_process(reinforce.run, job_file) == 0, (job_file.parent / "log").read_text()
    for mine, theirs in zip(_lines(again, "curves"), _lines(kept, "curves"), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)


def test_two_ranks_reinforce_as_one_process_does(rig: Rig, tmp_path: Path) -> None:
    """Rollouts, rewards and losses of the first steps; both ranks' answers are in the figures."""
    short = {"steps": 3, "snapshot_every": 2, "prompts_per_step": 2, "sample_every": 1}
    one, two = rig.job(tmp_path / "one", **short), rig.job(tmp_path / "two", **short)
    assert run_process(reinforce.run, one) == 0
    assert run_ranks(reinforce.run, two, 2) == [0, 0], (two.parent / "log").read_text()[-3000:]
    ours, theirs = _lines(two, "curves"), _lines(one, "curves")
    for mine, other in zip(ours, theirs, strict=True):
        assert set(mine) == set(other)
        for name, value in other.items():
            assert mine[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    texts = [[row["text"] for row in _lines(job, "samples")] for job in (one, two)]
    assert texts[0] == texts[1]
    with open_tensors(rig.child) as before, open_tensors(two.parent / "out/checkpoint") as after:
        for name in before.names():
            if is_expert_or_router(name):
                assert torch.equal(before.get(name), after.get(name)), name
