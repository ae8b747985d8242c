"""Snapshots written beside the training: it stops for a copy in memory, a thread does the rest.

One snapshot is under way at a time; the next one waits for it. Every rank writes its own files into
one folder (a shared file system, where there are several hosts) and then an empty mark; rank 0
waits for all marks and makes the snapshot count by its rename. No collective runs in the thread:
the training's own are under way meanwhile.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from fretsaw_engine.job import StageFailure
from fretsaw_engine.training import distributed, snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from fretsaw_engine.job import Job

PATIENCE_SECONDS = 1800.0
"""How long rank 0 waits for the others' files."""


class SnapshotWriter:
    """Writes snapshots of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._staging = snapshots.Staging()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(
        self,
        step: int,
        trained: tuple[Mapping[str, nn.Parameter], torch.optim.Optimizer],
        texts: Mapping[str, str],
        state: Mapping[str, Any],
    ) -> None:
        """A collective. What is `trained` is copied at once; `texts` (file name -> content) are
        rank 0's; `state` is what the control plane shows."""
        self.wait()
        first = distributed.rank() == 0
        partial: Path | None = self._job.begin_snapshot(step) if first else None
        partial = distributed.from_first(partial)
        if partial is None:
            return
        staged = snapshots.stage(*trained, self._staging)
        what = (partial, staged, dict(texts) if first else {}, step, dict(state))
        self._thread = threading.Thread(target=self._run, args=what, name="snapshot")
        self._thread.start()

    def join(self) -> None:
        """Until nothing is under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wait(self) -> None:
        """Until the snapshot under way is whole; raises what stopped it."""
        self.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(
        self,
        partial: Path,
        staged: snapshots.Staged,
        texts: dict[str, str],
        step: int,
        state: dict[str, Any],
    ) -> None:
        try:
            snapshots.write_tensors(partial, staged)
            for name, text in texts.items():
                (partial / name).write_text(text, encoding="utf-8")
            if distributed.rank() == 0:
                _await_others(partial)
                self._job.end_snapshot(step, partial, state)
            else:
                _mark(partial, distributed.rank()).touch()
        except BaseException as error:  # told to the training's own thread
            self._error = error


def _await_others(partial: Path) -> None:
    marks = [_mark(partial, rank) for rank in range(1, distributed.world_size())]
    until = time.monotonic() + PATIENCE_SECONDS
    while late := [mark.name for mark in marks if not mark.exists()]:
        if time.monotonic() > until:
            raise StageFailure("STALLED", f"snapshot {partial}: no {late[:5]}")
        time.sleep(0.01)
    for mark in marks:
        mark.unlink()


def _mark(partial: Path, rank: int) -> Path:
    return partial / f".rank-{rank:05d}.written"
