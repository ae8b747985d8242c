"""The stage `distill` in processes that are killed, stopped, lied to and poisoned."""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_rig import (
    KEEP,
    events,
    load_job,
    output_bytes,
    poison,
    run_killed,
    run_process,
    write_answers,
    write_child,
    write_job,
    write_parent,
)

from fretsaw_engine.job import run_job
from fretsaw_engine.methods.distill import known, train
from fretsaw_engine.moe.checkpoint import load_model, open_tensors
from fretsaw_engine.moe.gpt_oss import is_expert_or_router
from fretsaw_engine.stages import distill

SETTINGS: dict[str, Any] = {
    "tokens": 9_000,
    "sequence_length": 80,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "snapshot_every": 8,
    "seed": 5,
}


@dataclass(frozen=True)
class Rig:
    parent: Path
    child: Path
    answers: Path
    more: Path

    def job(self, folder: Path, resume: Path | None = None, **changed: Any) -> Path:
        inputs = {"teacher": self.parent, "student": self.child, "data": [self.answers, self.more]}
        overridden = {n: changed.pop(n) for n in list(changed) if n in {*inputs, "kept"}}
        return write_job(
            folder,
            "distill",
            {**SETTINGS, **changed},
            {**inputs, **overridden},
            ["checkpoint", "curves"],
            resume,
        )


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    root = tmp_path_factory.mktemp("distill")
    parent = write_parent(root / "parent")
    return Rig(
        parent=parent,
        child=write_child(root / "child", parent),
        answers=write_answers(root / "answers", 24),
        more=write_answers(root / "more", 12, seed=8),
    )


@pytest.fixture(scope="module")
def whole(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    job_file = rig.job(tmp_path_factory.mktemp("whole"))
    assert run_process(distill.run, job_file) == 0
    return job_file


def _failure(job_file: Path) -> dict[str, Any]:
    last = events(job_file)[-1]
    assert last["event"] == "failed", last
    return last


def _curve(job_file: Path) -> list[dict[str, float]]:
    text = (job_file.parent / "out/curves/curves.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_loss_falls_and_every_step_is_in_the_curve(whole: Path) -> None:
    rows = _curve(whole)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["tokens"] >= SETTINGS["tokens"] > rows[-2]["tokens"]
    assert sum(row["loss"] for row in rows[-5:]) < 0.7 * sum(row["loss"] for row in rows[:5])
    assert set(rows[0]) == {"step", "loss", "tokens", "learning_rate", "grad_norm"}


def test_experts_and_router_keep_their_bytes_and_the_rest_trains(rig: Rig, whole: Path) -> None:
    with open_tensors(rig.child) as before, open_tensors(whole.parent / "out/checkpoint") as after:
        assert before.names() == after.names()
        for name in before.names():
            same = torch.equal(before.get(name), after.get(name))
            assert same == is_expert_or_router(name), name
            assert before.get(name).dtype == after.get(name).dtype
    load_model(whole.parent / "out/checkpoint")


def test_killed_at_10_random_places_in_one_training_it_ends_with_the_same_bytes(
    rig: Rig, whole: Path, tmp_path: Path
) -> None:
    """Kill -9 after a random number of steps and a random wait within one, wherever that is: in a
    step, in the write of a snapshot, between the two. Each attempt goes on from the newest snapshot
    that its forerunners left."""
    drawn = random.Random(7)
    newest: Path | None = None
    for attempt in range(10):
        job_file = rig.job(tmp_path / f"killed-{attempt}", resume=newest, snapshot_every=2)
        steps, seconds = drawn.randint(1, 5), drawn.random() * 0.05
        found = run_killed(distill.run, job_file, after_steps=steps, after_seconds=seconds)
        newest = found or newest
    assert newest is not None
    resumed = rig.job(tmp_path / "resumed", resume=newest, snapshot_every=2)
    assert run_process(distill.run, resumed) == 0
    assert output_bytes(resumed) == output_bytes(whole)


def _multiply_loss(monkeypatch: pytest.MonkeyPatch, factor: float, *, step: int) -> None:
    """After so many steps, once."""
    plain = train.DistillTrainer.compute_loss

    def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = plain(self, *args, **kwargs)
        return loss * factor if self.state.global_step == step else loss

    monkeypatch.setattr(train.DistillTrainer, "compute_loss", compute_loss)


def test_a_loss_that_leaps_stops_the_stage_with_its_code(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _multiply_loss(monkeypatch, 1e4, step=22)
    job_file = rig.job(tmp_path / "job")
    assert run_job(load_job(job_file), distill.run) == 1
    failure = _failure(job_file)
    assert failure["code"] == "LOSS_SPIKE"
    assert failure["details"]["step"] == 23
    assert [path.name for path in sorted((tmp_path / "job/snapshots").iterdir())] == [
        "00000008",
        "00000016",
    ]


def test_data_seen_only_once_resumes_to_the_same_bytes_without_the_teachers_cache(
    rig: Rig, tmp_path: Path
) -> None:
    once = {"tokens": 1_500, "snapshot_every": 2}
    undisturbed = rig.job(tmp_path / "whole", **once)
    assert run_process(distill.run, undisturbed) == 0
    snapshot = run_killed(distill.run, rig.job(tmp_path / "killed", **once), after_snapshots=1)
    resumed = rig.job(tmp_path / "resumed", resume=snapshot, **once)
    assert run_process(distill.run, resumed) == 0
    assert output_bytes(resumed) == output_bytes(undisturbed)


def test_sigterm_takes_a_last_snapshot_and_the_run_goes_on_from_it(
    rig: Rig, whole: Path, tmp_path: Path
) -> None:
    stopped = rig.job(tmp_path / "stopped", snapshot_every=1000)
    snapshot = run_killed(distill.run, stopped, after_steps=5, with_signal=signal.SIGTERM)
    assert snapshot is not None and int(snapshot.name) >= 5
    assert _failure(stopped)["code"] == "PREEMPTED"
    resumed = rig.job(tmp_path / "resumed", resume=snapshot, snapshot_every=1000)
    assert run_process(distill.run, resumed) == 0
    assert output_bytes(resumed) == output_bytes(whole)


def test_micro_batches_that_accumulate_give_the_same_curve(
    rig: Rig, whole: Path, tmp_path: Path
) -> None:
    job_file = rig.job(tmp_path / "job")
    document = json.loads(job_file.read_text())
    document["resources"]["micro_batch"] = 2
    job_file.write_text(json.dumps(document))
    assert run_process(distill.run, job_file) == 0
    for ours, theirs in zip(_curve(job_file)[:20], _curve(whole)[:20], strict=True):
        assert math.isclose(ours["loss"], theirs["loss"], rel_tol=1e-5)
        assert ours["tokens"] == theirs["tokens"]


def _snapshot_of(whole: Path, tmp_path: Path, step: int = 16) -> Path:
    return Path(shutil.copytree(whole.parent / f"snapshots/{step:08d}", tmp_path / f"{step:08d}"))


def _state(snapshot: Path, **changed: Any) -> None:
    path = snapshot / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def _zero(snapshot: Path, family: str) -> None:
    (path,) = snapshot.glob(f"{family}.*.safetensors")
    tensors = {name: torch.zeros_like(value) for name, value in load_file(path).items()}
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    save_file(tensors, path, metadata=header)


LIES: dict[str, tuple[Any, str]] = {
    "another step": (lambda s: _state(s, step=17), "step"),
    "more tokens": (lambda s: _state(s, consumed=1), "data position"),
    "another rate": (lambda s: _state(s, learning_rate=0.5), "learning rate"),
    "another order of data": (lambda s: _state(s, data="sha256:0"), "data order"),
    "other experts": (lambda s: _state(s, frozen="sha256:0"), "router and experts"),
    "zeroed weights": (lambda s: _zero(s, "trainable"), "probe loss"),
    "zeroed optimiser": (lambda s: _zero(s, "optimizer"), "optimizer norm"),
    "no state": (lambda s: (s / "state.json").unlink(), "state.json"),
    "half a file": (
        lambda s: next(s.glob("trainable.*")).write_bytes(
            next(s.glob("trainable.*")).read_bytes()[:999]
        ),
        "not whole",
    ),
}


@pytest.mark.parametrize("lie", list(LIES))
def test_a_snapshot_that_lies_is_refused_with_the_numbers(
    rig: Rig, whole: Path, tmp_path: Path, lie: str
) -> None:
    snapshot = _snapshot_of(whole, tmp_path)
    tell, said = LIES[lie]
    tell(snapshot)
    job_file = rig.job(tmp_path / "job", resume=snapshot)
    assert run_job(load_job(job_file), distill.run) == 1
    failure = _failure(job_file)
    assert failure["code"] == "RESUME_DRIFT"
    assert said in failure["message"]


def test_other_settings_do_not_resume_from_this_snapshot(
    rig: Rig, whole: Path, tmp_path: Path
) -> None:
    snapshot = _snapshot_of(whole, tmp_path)
    job_file = rig.job(tmp_path / "job", resume=snapshot, seed=6)
    assert run_job(load_job(job_file), distill.run) == 1
    assert _failure(job_file)["code"] == "RESUME_DRIFT"


def test_a_poisoned_student_stops_at_once_with_nan_loss(rig: Rig, tmp_path: Path) -> None:
    poisoned = Path(shutil.copytree(rig.child, tmp_path / "poisoned"))
    poison(poisoned, "model.layers.2.self_attn.q_proj.weight")
    job_file = rig.job(tmp_path / "job", student=poisoned)
    assert run_job(load_job(job_file), distill.run) == 1
    failure = _failure(job_file)
    assert failure["code"] == "NAN_LOSS"
    assert failure["details"] == {"step": 1}


def test_a_nan_later_keeps_the_last_snapshot(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _multiply_loss(monkeypatch, math.nan, step=10)
    job_file = rig.job(tmp_path / "job")
    assert run_job(load_job(job_file), distill.run) == 1
    assert _failure(job_file)["code"] == "NAN_LOSS"
    assert [path.name for path in (tmp_path / "job/snapshots").iterdir()] == ["00000008"]


def test_an_expert_that_moves_by_one_bit_stops_the_stage(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train.DistillTrainer.compute_loss

    def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 5:
            experts = self.model.layers[1].teacher.mlp.experts
            with torch.no_grad():
                bits = experts.down_proj.view(torch.int32)
                bits[0, 0, 0] ^= 1
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(train.DistillTrainer, "compute_loss", compute_loss)
    job_file = rig.job(tmp_path / "job")
    assert run_job(load_job(job_file), distill.run) == 1
    failure = _failure(job_file)
    assert failure["code"] == "FROZEN_MOVED"
    assert failure["details"]["step"] == 8


def test_the_teachers_cache_changes_no_loss_by_more_than_rounding(
    rig: Rig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "KEPT_BYTES", 0)
    job_file = rig.job(tmp_path / "job")
    assert run_job(load_job(job_file), distill.run) == 0
    for ours, theirs in zip(_curve(job_file), _curve(whole), strict=True):
        assert math.isclose(ours["loss"], theirs["loss"], rel_tol=1e-4)


def test_snapshots_hold_what_trains_and_nothing_pickled(whole: Path, rig: Rig) -> None:
    snapshot = whole.parent / "snapshots/00000008"
    assert {path.suffix for path in snapshot.iterdir()} == {".safetensors", ".json", ".jsonl"}
    trained = load_file(next(snapshot.glob("trainable.*")))
    assert not any(is_expert_or_router(name) for name in trained)
    parameters = load_model(rig.child).num_parameters()
    assert 0 < sum(value.numel() for value in trained.values()) < parameters


def test_a_batch_that_micro_batches_cannot_make_is_bad_input(rig: Rig, tmp_path: Path) -> None:
    job_file = rig.job(tmp_path / "job")
    document = json.loads(job_file.read_text())
    document["resources"]["micro_batch"] = 3
    job_file.write_text(json.dumps(document))
    assert run_job(load_job(job_file), distill.run) == 1
    assert _failure(job_file)["code"] == "BAD_INPUT"


def test_a_student_whose_experts_are_not_those_of_the_kept_map_is_refused(
    rig: Rig, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    document = {"schema": "fretsaw/kept-experts/v1", "layers": KEEP}
    (kept / "kept.json").write_text(json.dumps(document))
    small = {"tokens": 400}
    assert run_job(load_job(rig.job(tmp_path / "right", kept=kept, **small)), distill.run) == 0
    document["layers"] = [KEEP[0], [0, 2, 4, 7], *KEEP[2:]]
    (kept / "kept.json").write_text(json.dumps(document))
    wrong = rig.job(tmp_path / "wrong", kept=kept, **small)
    assert run_job(load_job(wrong), distill.run) == 1
    assert _failure(wrong)["code"] == "FROZEN_MOVED"
