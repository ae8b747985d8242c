"""Two processes on gloo, sharded by fully_shard, against one."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from training_rig import (
    events,
    output_bytes,
    run_process,
    write_answers,
    write_child,
    write_job,
    write_parent,
)

from fretsaw_engine.job import read_job, run_job
from fretsaw_engine.moe.checkpoint import open_tensors
from fretsaw_engine.moe.gpt_oss import is_expert_or_router
from fretsaw_engine.stages import distill

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
    assert run_ranks(job_file, 2) == [0, 0], (job_file.parent / "log").read_text()[-3000:]
    return job_file


def _job(folder: Path, inputs: dict[str, Any], resume: Path | None = None) -> Path:
    return write_job(folder, "distill", SETTINGS, inputs, ["checkpoint", "curves"], resume)


def run_ranks(job_file: Path, ranks: int) -> list[int]:
    """What torchrun does: one process a rank, told by the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_rank, args=(job_file, rank, ranks, port)) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    return [process.exitcode if process.exitcode is not None else -1 for process in processes]


def _rank(job_file: Path, rank: int, ranks: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        LOCAL_WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    with (job_file.parent / "log").open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        code = run_job(read_job(job_file), distill.run)
        os._exit(code)


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
    codes = run_ranks(job_file, 2) if readers == 2 else [run_process(distill.run, job_file)]
    assert codes == [0] * readers, (job_file.parent / "log").read_text()[-3000:]
    assert _close(_losses(job_file), _losses(written))
    if writers == readers:
        assert output_bytes(job_file) == output_bytes(written)
