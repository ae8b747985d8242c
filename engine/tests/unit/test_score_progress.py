"""Scoring over ranks and restarts: the same bytes whatever happened on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_rig import events, output_bytes, run_killed, run_process, write_answers, write_parent
from training_rig import write_job as write_training_job

from fretsaw_engine.methods.score import progress, units
from fretsaw_engine.stages import score_blocks, score_experts

RANKING = "out/ranking/ranking.json"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards of little data, and a snapshot after every layer."""
    monkeypatch.setattr(units, "TOKENS_PER_UNIT", 160)
    monkeypatch.setattr(units, "UNITS_PER_SHARD", 2)
    monkeypatch.setattr(progress, "SNAPSHOT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("score")
    data = write_answers(root / "data", 40)
    return {"model": write_parent(root / "parent"), "data": data}


def experts_job(folder: Path, inputs: dict[str, Path], resume: Path | None = None) -> Path:
    settings = {"min_tokens_per_expert": 0}
    return write_training_job(folder, "score-experts", settings, inputs, ["ranking"], resume)


def blocks_job(
    folder: Path, inputs: dict[str, Path], metric: str, resume: Path | None = None
) -> Path:
    settings = {"metric": metric, "expert_counts": [2, 5], "windows": [2]}
    settings["long_context"] = {"examples": 12, "max_new_tokens": 2}
    return write_training_job(folder, "score-blocks", settings, inputs, ["scores"], resume)


@pytest.fixture(scope="module")
def whole(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, undisturbed."""
    job_file = experts_job(tmp_path_factory.mktemp("whole"), inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "TOKENS_PER_UNIT", 160)
        patch.setattr(units, "UNITS_PER_SHARD", 2)
        patch.setattr(progress, "SNAPSHOT_SECONDS", 0.0)
        assert run_process(score_experts.run, job_file) == 0
    return job_file


@pytest.fixture(scope="module")
def scored(inputs: dict[str, Path], whole: Path) -> dict[str, Path]:
    experts = whole.parent / "out/ranking"
    return {**inputs, "experts": experts, "long_context": inputs["data"]}


def test_there_are_several_shards_and_snapshots(whole: Path) -> None:
    assert len(list((whole.parent / "shards/experts").iterdir())) >= 3
    steps = [event["step"] for event in events(whole) if event["event"] == "snapshot"]
    assert steps == sorted(set(steps))
    assert len(steps) >= 10
    last = [event for event in events(whole) if event["event"] == "progress"][-1]
    assert last["step"] == last["total"]


def test_two_ranks_under_torchrun_give_the_bytes_of_one(
    inputs: dict[str, Path], whole: Path, tmp_path: Path
) -> None:
    job_file = experts_job(tmp_path / "two", inputs)
    assert torchrun(job_file, 2) == 0, (job_file.parent / "log").read_text()[-3000:]
    assert output_bytes(job_file) == output_bytes(whole)
    last = [event for event in events(job_file) if event["event"] == "progress"][-1]
    assert last["step"] == last["total"]


@pytest.mark.parametrize("metric", ["activation-mse", "kl"])
def test_blocks_of_two_ranks_have_the_bytes_of_one(
    scored: dict[str, Path], tmp_path: Path, metric: str
) -> None:
    one = blocks_job(tmp_path / "one", scored, metric)
    assert run_process(score_blocks.run, one) == 0, events(one)[-1]
    two = blocks_job(tmp_path / "two", scored, metric)
    assert torchrun(two, 2) == 0, (two.parent / "log").read_text()[-3000:]
    assert output_bytes(two) == output_bytes(one)


@pytest.mark.parametrize("snapshots", [1, 6])
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    inputs: dict[str, Path], whole: Path, tmp_path: Path, snapshots: int
) -> None:
    killed = experts_job(tmp_path / "killed", inputs)
    newest = run_killed(score_experts.run, killed, after_snapshots=snapshots)
    assert newest is not None
    resumed = experts_job(tmp_path / "resumed", inputs, newest)
    assert run_process(score_experts.run, resumed) == 0, events(resumed)[-1]
    assert output_bytes(resumed) == output_bytes(whole)
    first = next(event for event in events(resumed) if event["event"] == "progress")
    assert int(newest.name) <= first["step"] <= int(newest.name) + 1  # nothing is done twice


def test_one_rank_goes_on_where_two_were_stopped(
    inputs: dict[str, Path], whole: Path, tmp_path: Path
) -> None:
    taken = sorted((whole.parent / "snapshots").glob("[0-9]*"))[4]
    resumed = experts_job(tmp_path / "two", inputs, taken)
    assert torchrun(resumed, 2) == 0, (resumed.parent / "log").read_text()[-3000:]
    assert output_bytes(resumed) == output_bytes(whole)


@pytest.mark.parametrize("metric", ["activation-mse", "hidden-mse"])
def test_a_killed_scoring_of_blocks_goes_on(
    scored: dict[str, Path], tmp_path: Path, metric: str
) -> None:
    one = blocks_job(tmp_path / "one", scored, metric)
    assert run_process(score_blocks.run, one) == 0, events(one)[-1]
    snapshots = sorted((one.parent / "snapshots").glob("[0-9]*"))
    for at in (2, len(snapshots) - 2):  # in the first pass, and in the long-context one
        resumed = blocks_job(tmp_path / f"resumed-{at}", scored, metric, snapshots[at])
        assert run_process(score_blocks.run, resumed) == 0, events(resumed)[-1]
        assert output_bytes(resumed) == output_bytes(one)


def test_a_job_that_is_asked_to_stop_leaves_a_snapshot(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    job_file = experts_job(tmp_path / "stopped", inputs)
    newest = run_killed(score_experts.run, job_file, after_snapshots=1, with_signal=signal.SIGTERM)
    assert events(job_file)[-1]["code"] == "PREEMPTED"
    assert newest is not None


def test_a_snapshot_of_other_data_is_refused(
    inputs: dict[str, Path], whole: Path, tmp_path: Path
) -> None:
    taken = sorted((whole.parent / "snapshots").glob("[0-9]*"))[0]
    file = next((taken / "experts").iterdir())
    forged = tmp_path / taken.name
    (forged / "experts").mkdir(parents=True)
    save_file(load_file(file), forged / "experts" / file.name, {"layers": "1", "rows": "0-999"})
    job_file = experts_job(tmp_path / "job", inputs, forged)
    assert run_process(score_experts.run, job_file) == 1
    assert events(job_file)[-1]["code"] == "RESUME_DRIFT"


def torchrun(job_file: Path, ranks: int) -> int:
    """The command that the control plane gives, in small shards."""
    small = (
        "import sys; from fretsaw_engine.methods.score import progress, units; "
        "units.TOKENS_PER_UNIT, units.UNITS_PER_SHARD = 160, 2; "
        "progress.SNAPSHOT_SECONDS = 0.0; "
        "from fretsaw_engine.__main__ import main; sys.exit(main(sys.argv[1]))"
    )
    script = job_file.parent / "small.py"
    script.write_text(small)
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "0"]
    argv += ["--nproc-per-node", str(ranks), str(script), str(job_file)]
    source = Path(__file__).parents[2] / "src"
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    with (job_file.parent / "log").open("ab") as log:
        return subprocess.run(argv, stdout=log, stderr=log, env=environment, timeout=300).returncode


def test_ranks_are_ordered_by_score_and_then_by_expert(whole: Path) -> None:
    document = json.loads((whole.parent / RANKING).read_text())
    for layer in document["layers"]:
        keys = [(-entry["score"], entry["expert"]) for entry in layer["experts"]]
        assert keys == sorted(keys)
    assert torch.get_num_threads() >= 1
