"""Small jobs for the training stages: a nano parent, a pruned child of it, packed answers, a job
folder.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.data.packed import pack, write_dataset
from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.job import read_job, run_job
from fretsaw_engine.moe import gpt_oss
from fretsaw_engine.moe.checkpoint import open_tensors, read_config, write_checkpoint
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint
from fretsaw_engine.rehearsal.tasks import TASKS, stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEEP = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 2, 4, 6], [1, 3, 5, 7], [0, 1, 2, 3, 4, 5]]
"""Experts that the child keeps, by layer."""

WINDOWS = [4, 4, 4, None]
"""The child's windows: layer 1 was full in the parent."""


def write_parent(folder: Path, seed: int = 1) -> Path:
    write_nano_checkpoint(folder, seed)
    return folder


def write_child(folder: Path, parent: Path) -> Path:
    """A heterogeneous child: expert and router rows of the parent, byte for byte."""
    config = dict(read_config(parent))
    config["model_type"] = "gpt_oss_puzzle"
    config["architectures"] = ["GptOssPuzzleForCausalLM"]
    config["block_configs"] = [
        {"num_local_experts": len(kept), "sliding_window": window}
        for kept, window in zip(KEEP, WINDOWS, strict=True)
    ]
    config["layer_types"] = [gpt_oss.FULL if w is None else gpt_oss.SLIDING for w in WINDOWS]
    with open_tensors(parent) as tensors:

        def rows() -> Any:
            for name in tensors.names():
                if gpt_oss.is_expert_or_router(name):
                    yield name, tensors.rows(name, KEEP[int(name.split(".")[2])])
                else:
                    yield name, tensors.get(name)

        write_checkpoint(folder, config, rows(), parent)
    return folder


def examples(count: int, effort: str = "high", seed: int = 3) -> list[dict[str, Any]]:
    streams = [stream(task, TASKS[task](), "train", seed) for task in ("arithmetic", "format")]
    drawn = [next(streams[i % 2]) for i in range(count)]
    return [
        {
            "id": example.id,
            "task": example.task,
            "effort": effort,
            "messages": [
                *example.messages,
                {"role": "assistant", "content": example.targets[effort].final},
            ],
            "answer": example.answer,
            "scorer": example.scorer,
        }
        for example in drawn
    ]


def write_answers(folder: Path, count: int = 40, length: int = 80, seed: int = 3) -> Path:
    """Packed reference answers, as `generate` would leave them."""
    renderer = rehearsal_renderer()
    streams = [stream(task, TASKS[task](), "train", seed) for task in ("arithmetic", "format")]
    drawn = [next(streams[i % 2]) for i in range(count)]
    documents = [
        renderer.document(
            [
                *example.messages,
                {
                    "role": "assistant",
                    "thinking": example.targets["high"].analysis,
                    "content": example.targets["high"].final,
                },
            ],
            "high",
        )
        for example in drawn
    ]
    packed = pack(documents, length)
    write_dataset(
        folder, examples=examples(count, seed=seed), packed=packed, description={"split": "train"}
    )
    return folder


def write_prompts(folder: Path, count: int = 16) -> Path:
    write_dataset(folder, examples=examples(count), packed=None, description={"split": "train"})
    return folder


def write_job(
    folder: Path,
    kind: str,
    settings: dict[str, Any],
    inputs: dict[str, Any],
    outputs: list[str],
    resume: Path | None = None,
    resources: dict[str, Any] | None = None,
) -> Path:
    """A job file; inputs are folders (or lists of them)."""
    folder.mkdir(parents=True, exist_ok=True)

    def artifact(value: Any) -> Any:
        if isinstance(value, list):
            return [artifact(v) for v in value]
        return {"digest": "sha256:" + "0" * 64, "path": str(value)}

    document = {
        "schema": "fretsaw/job/v1",
        "key": "sha256:" + "1" * 64,
        "kind": kind,
        "version": "1",
        "attempt": 1,
        "with": settings,
        "inputs": {name: artifact(value) for name, value in inputs.items()},
        "outputs": {name: str(folder / "out" / name) for name in outputs},
        "resources": {"cpus": 1, "gpus": 0, **(resources or {})},
        "threads": 1,
        "folder": str(folder),
        "resume": None if resume is None else {"path": str(resume), "step": int(resume.name)},
        "lease": {"seconds": 0},
    }
    path = folder / "job.json"
    path.write_text(json.dumps(document))
    return path


def load_job(path: Path) -> Any:
    return read_job(path)


def run_process(stage: Callable[[Any], None], job_file: Path) -> int:
    """Run a stage in a process of its own (forked, as the warm parent does); its exit code."""
    process = _start(stage, job_file)
    process.join()
    return process.exitcode or 0


def run_killed(
    stage: Callable[[Any], None],
    job_file: Path,
    *,
    after_snapshots: int = 0,
    after_steps: int = 0,
    after_seconds: float = 0.0,
    with_signal: int = signal.SIGKILL,
) -> Path | None:
    """Run a stage and kill it once it has come so far; gives its newest snapshot."""
    process = _start(stage, job_file)
    deadline = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline:
        seen = [event["event"] for event in events(job_file)]
        if seen.count("snapshot") >= after_snapshots and seen.count("metrics") >= after_steps:
            break
        time.sleep(0.005)
    time.sleep(after_seconds)
    assert process.is_alive(), f"ended before it could be killed: {events(job_file)[-1:]}"
    os.kill(process.pid or 0, with_signal)
    process.join()
    assert not (job_file.parent / "done.json").exists()
    found = sorted((job_file.parent / "snapshots").glob("[0-9]*"))
    return found[-1] if found else None


def _start(stage: Callable[[Any], None], job_file: Path) -> Any:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(stage, job_file))
    process.start()
    return process


def _run(stage: Callable[[Any], None], job_file: Path) -> None:
    with (job_file.parent / "log").open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os._exit(run_job(read_job(job_file), stage))


def run_ranks(stage: Callable[[Any], None], job_file: Path, ranks: int) -> list[int]:
    """What torchrun does: one process a rank, told by the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_rank, args=(stage, job_file, rank, ranks, port))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    return [process.exitcode if process.exitcode is not None else -1 for process in processes]


def _rank(stage: Callable[[Any], None], job_file: Path, rank: int, ranks: int, port: int) -> None:
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
        code = run_job(read_job(job_file), stage)
        os._exit(code)


def events(job_file: Path) -> list[dict[str, Any]]:
    path = job_file.parent / "events.jsonl"
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


def output_bytes(job_file: Path) -> dict[str, bytes]:
    root = job_file.parent / "out"
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()
    }


def poison(folder: Path, name: str) -> None:
    """Put a NaN into one tensor of a checkpoint."""
    config = read_config(folder)
    with open_tensors(folder) as tensors:
        found = {n: tensors.get(n).clone() for n in tensors.names()}
    found[name].view(-1)[0] = torch.nan
    write_checkpoint(folder, config, found.items(), folder)
