"""Work over shards and layers that goes on where it was: on another machine, with other ranks.

Each process takes every n-th shard, layer by layer. A finished shard is a file of its figures; one
that is at work is, in a snapshot, a file of its figures so far and of the hidden states that its
next layer reads. Figures are read back in the order of shards, so neither the number of processes
nor a restart is part of a result.

    <nnnnn>.safetensors   `<layer>.<name>` figures, `hidden.<unit>`; header: layers, rows
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import save_file

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.score.experts import unit_name
from fretsaw_engine.training import distributed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch

    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.score.kept import Kept
    from fretsaw_engine.methods.score.units import Shard

SNAPSHOT_SECONDS = 300.0
"""Seconds of work that a killed job loses at most, and a layer."""

Figures = dict[str, "torch.Tensor"]


@dataclass(kw_only=True)
class Phase:
    """One pass over shards. `work` does a layer of a shard; `begin` makes a shard's layer 0 ready.

    `keeps_hidden`: what `work` reads is under `unit_name` in `kept` and goes into snapshots; else
    `begin` makes it again after a restart.
    """

    name: str
    shards: Sequence[Shard]
    layers: int
    kept: Kept
    keeps_hidden: bool
    begin: Callable[[Shard], None]
    work: Callable[[Shard, int], Figures]


@dataclass(kw_only=True)
class _State:
    """A shard at work: layers done, and their figures."""

    shard: Shard
    done: int = 0
    figures: Figures = field(default_factory=dict)


class Progress:
    """Runs phases of one job, one after the other."""

    def __init__(self, job: Job, total_layers: int) -> None:
        self._job = job
        self._total = total_layers
        self._before = 0
        """Layers of earlier phases, and of shards that are behind us in this one."""
        self._last = time.monotonic()

    def run(self, phase: Phase) -> list[Figures]:
        """Figures of every shard, in order, on every rank."""
        folder = self._job.folder / "shards" / phase.name
        self._restore(phase, folder)
        rank, ranks = distributed.rank(), distributed.world_size()
        open_shards = [s for s in phase.shards if not _is_done(_path(folder, s), phase.layers)]
        self._before += phase.layers * (len(phase.shards) - len(open_shards))
        for start in range(0, len(open_shards), ranks):
            at_work = open_shards[start : start + ranks]
            self._shard(phase, folder, at_work[rank] if rank < len(at_work) else None)
            self._before += phase.layers * len(at_work)
        distributed.barrier()
        return [_figures(_path(folder, shard)) for shard in phase.shards]

    def _shard(self, phase: Phase, folder: Path, shard: Shard | None) -> None:
        """One shard, or none, for as many steps as other ranks need."""
        state = None if shard is None else self._begin(phase, folder, shard)
        for layer in range(phase.layers):
            if state is not None and layer >= state.done:
                found = phase.work(state.shard, layer)
                state.figures |= {f"{layer}.{name}": value for name, value in found.items()}
                state.done = layer + 1
                if state.done == phase.layers:
                    _write(_path(folder, state.shard), state, {})
            self._after_layer(phase, state)
        phase.kept.clear()

    def _begin(self, phase: Phase, folder: Path, shard: Shard) -> _State:
        path = _path(folder, shard)
        state = _State(shard=shard)
        if path.is_file():
            state.figures = _figures(path)
            state.done = _header(path)[0]
            path.unlink()
        if not state.done or not phase.keeps_hidden:
            phase.begin(shard)
        if phase.keeps_hidden:
            for name in [n for n in state.figures if n.startswith("hidden.")]:
                phase.kept.put(name.removeprefix("hidden."), state.figures.pop(name))
        return state

    def _after_layer(self, phase: Phase, state: _State | None) -> None:
        job = self._job
        here = 0 if state is None else state.done
        done = self._before + round(distributed.sum_over_ranks(here))
        job.progress(done, self._total, "layers")
        asked = distributed.any_rank(job.should_stop)
        is_due = distributed.from_first(time.monotonic() - self._last > SNAPSHOT_SECONDS)
        if asked or (is_due and done < self._total):
            self._snapshot(phase, done, state)
            self._last = time.monotonic()
        if asked:
            raise StageFailure("PREEMPTED", f"asked to stop; snapshot at layer {done}")

    def _snapshot(self, phase: Phase, step: int, state: _State | None) -> None:
        """All ranks write into the folder that rank 0 makes."""

        def write_rank(folder: Path) -> None:
            if state is None or state.done in (0, phase.layers):
                return
            hidden = {}
            if phase.keeps_hidden:
                hidden = {f"hidden.{unit_name(u)}": _held(phase, u) for u in state.shard.units}
            (folder / phase.name).mkdir(exist_ok=True, parents=True)
            _write(_path(folder / phase.name, state.shard), state, hidden)

        def write_first(folder: Path) -> None:
            finished = self._job.folder / "shards"
            if finished.is_dir():
                shutil.copytree(finished, folder, dirs_exist_ok=True)
            distributed.from_first(str(folder))
            write_rank(folder)
            distributed.barrier()

        if distributed.rank() == 0:
            exists = (self._job.folder / "snapshots" / f"{step:08d}").exists()
            distributed.from_first(exists)
            if not exists:
                self._job.snapshot(step, write_first, {"layers": step})
        elif not distributed.from_first(None):
            from pathlib import Path

            write_rank(Path(distributed.from_first(None)))
            distributed.barrier()
        distributed.barrier()

    def _restore(self, phase: Phase, folder: Path) -> None:
        resume = self._job.resume
        if distributed.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            if resume is not None:
                _copy_saved(phase, resume.path / phase.name, folder)
        distributed.barrier()


def _copy_saved(phase: Phase, source: Path, folder: Path) -> None:
    for shard in phase.shards:
        saved, own = _path(source, shard), _path(folder, shard)
        if saved.is_file() and not own.is_file():
            _check(saved, shard, phase.layers)
            shutil.copyfile(saved, own)


def _held(phase: Phase, unit: object) -> torch.Tensor:
    return phase.kept.get(unit_name(unit)).cpu().contiguous()  # type: ignore[arg-type]


def _path(folder: Path, shard: Shard) -> Path:
    return folder / f"{shard.index:05d}.safetensors"


def _write(path: Path, state: _State, hidden: Mapping[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, last = state.shard.rows
    header = {"layers": str(state.done), "rows": f"{first}-{last}"}
    partial = path.with_suffix(".partial")
    figures = {name: value.contiguous() for name, value in state.figures.items()}
    save_file({**figures, **hidden}, partial, metadata=header)
    partial.rename(path)


def _header(path: Path) -> tuple[int, str]:
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    return int(header["layers"]), header["rows"]


def _is_done(path: Path, layers: int) -> bool:
    return path.is_file() and _header(path)[0] == layers


def _figures(path: Path) -> Figures:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _check(path: Path, shard: Shard, layers: int) -> None:
    first, last = shard.rows
    try:
        done, rows = _header(path)
        is_good = 0 < done <= layers and rows == f"{first}-{last}"
    except Exception as error:  # safetensors raises its own, undeclared, classes
        raise StageFailure("RESUME_DRIFT", f"{path}: not whole: {error}") from error
    if not is_good:
        raise StageFailure(
            "RESUME_DRIFT",
            f"{path}: {done} layers of rows {rows}, not of {layers} layers and rows {first}-{last}",
        )
