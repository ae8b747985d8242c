"""Two processes on gloo, sharded by fully_shard, against one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from training_rig import (
    events,
    output_bytes,
    run_process,
    run_ranks,
    write_answers,
    write_child,
    write_job,
    write_parent,
)

from fretsaw_engine.moe.checkpoint import open_tensors
from fretsaw_engine.moe.gpt_oss import is_expert_or_router
from fretsaw_engine.stages import distill
from fretsaw_engine.training import distributed

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS: dict[str, Any] = {
    "tokens": 6_000,
    "sequence_length": 80,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "snapshot_every": 10,
    "seed": 5,
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("distributed")
    parent = write_parent(root / "parent")
    return {
        "teacher": parent,
        "student": write_child(root / "child", parent),
        "data": [write_answers(root / "answers", 40)],
    }


@pytest.fixture(scope="module")
def one(inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    job_file = _job(tmp_path_factory.mktemp("one"), inputs)
    assert run_process(distill.run, job_file) == 0
    return job_file


@pytest.fixture(scope="module")
def two(inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    job_file = _job(tmp_path_factory.mktemp("two"), inputs)
    assert run_ranks(distill.run, job_file, 2) == [0, 0], (job_file.parent / "log").read_text()[
        -3000:
    ]
    return job_file


def _job(
    folder: Path, inputs: dict[str, Any], resume: Path | None = None, **resources: int
) -> Path:
    outputs = ["checkpoint", "curves"]
    return write_job(folder, "distill", SETTINGS, inputs, outputs, resume, resources)


def _layout(path: Path) -> dict[str, list[int]]:
    with safe_open(path, framework="pt") as file:
        layout = json.loads(file.metadata()["layout"])
        return {name: layout[name] for name in file.keys()}  # noqa: SIM118


def _losses(job_file: Path) -> list[float]:
    text = (job_file.parent / "out/curves/curves.jsonl").read_text()
    return [json.loads(line)["loss"] for line in text.splitlines()]


def _close(a: list[float], b: list[float], tolerance: float = 1e-5) -> bool:
    return len(a) == len(b) and all(
        math.isclose(x, y, rel_tol=tolerance) for x, y in zip(a, b, strict=True)
    )


def test_two_processes_train_as_one_does(one: Path, two: Path) -> None:
    assert len(_losses(one)) >= 20
    assert _close(_losses(one), _losses(two))


def test_the_checkpoint_of_two_processes_is_whole_and_its_experts_are_the_childs(
    inputs: dict[str, Any], one: Path, two: Path
) -> None:
    with (
        open_tensors(inputs["student"]) as before,
        open_tensors(one.parent / "out/checkpoint") as single,
        open_tensors(two.parent / "out/checkpoint") as double,
    ):
        for name in before.names():
            if is_expert_or_router(name):
                assert torch.equal(before.get(name), double.get(name))
            else:
                torch.testing.assert_close(single.get(name), double.get(name), rtol=2e-2, atol=2e-3)


def test_every_rank_writes_its_part_of_a_snapshot(two: Path) -> None:
    names = sorted(path.name for path in (two.parent / "snapshots/00000010").iterdir())
    parts = [name for name in names if name.endswith("-of-00002.safetensors")]
    assert len(parts) == 6
    trained = [part for part in parts if part.startswith("trainable")]
    rows = [_layout(two.parent / f"snapshots/00000010/{part}") for part in trained]
    for name, (start, total, *_) in rows[1].items():
        assert rows[0][name][0] == 0
        assert 0 < start < total or total == 1, name  # both ranks hold a part of every tensor
    assert events(two)[-1]["event"] == "done"


@pytest.mark.parametrize(("writers", "readers"), [(2, 1), (1, 2), (2, 2)])
def test_a_snapshot_of_so_many_ranks_is_read_by_so_many(
    inputs: dict[str, Any], one: Path, two: Path, tmp_path: Path, writers: int, readers: int
) -> None:
    written = two if writers == 2 else one
    job_file = _job(tmp_path / "job", inputs, written.parent / "snapshots/00000010")
    codes = (
        run_ranks(distill.run, job_file, 2)
        if readers == 2
        else [run_process(distill.run, job_file)]
    )
    assert codes == [0] * readers, (job_file.parent / "log").read_text()[-3000:]
    assert _close(_losses(job_file), _losses(written))
    if writers == readers:
        assert output_bytes(job_file) == output_bytes(written)


def test_two_ranks_that_share_each_row_train_as_one_process_does(
    inputs: dict[str, Any], one: Path, tmp_path: Path
) -> None:
    job_file = _job(tmp_path / "job", inputs, context_parallel=2)
    assert run_ranks(distill.run, job_file, 2) == [0, 0], (tmp_path / "job/log").read_text()[-3000:]
    assert len(_losses(one)) >= 20
    assert _close(_losses(job_file), _losses(one))
    probes = [
        [event["state"]["probe"] for event in events(job) if event["event"] == "snapshot"]
        for job in (job_file, one)
    ]
    assert probes[0] and _close(*probes)


def test_under_torchrun_with_accumulation_and_recomputed_activations_it_is_the_same_training(
    inputs: dict[str, Any], one: Path, tmp_path: Path
) -> None:
    job_file = _job(tmp_path / "job", inputs, micro_batch=1, recompute_activations=1)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "fretsaw_engine", str(job_file)]
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ.copy())
    assert found.returncode == 0, found.stderr[-3000:]
    assert len(_losses(one)) >= 20
    assert _close(_losses(job_file), _losses(one))


def test_a_model_that_nobody_sharded_is_refused_under_two_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What accelerate does on the CPU: parameters stay whole tensors, and DDP trains them."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="not sharded under world size 2"):
        distributed.assert_sharded(torch.nn.Linear(2, 2))
