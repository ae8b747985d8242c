"""Snapshots written beside the training, and figures that leap."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from training_rig import events, load_job, write_job

from fretsaw_engine.job import StageFailure
from fretsaw_engine.training import snapshots
from fretsaw_engine.training.snapshot_writer import SnapshotWriter
from fretsaw_engine.training.spikes import SpikeGuard

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def job(tmp_path: Path) -> Any:
    return load_job(write_job(tmp_path / "job", "distill", {}, {}, []))


def _trained() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_a_snapshot_holds_the_step_it_was_taken_at_however_far_training_has_gone(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = _trained()
    before = model.weight.detach().clone()
    may_write = threading.Event()
    real = snapshots.write_tensors

    def held_up(folder: Path, staged: snapshots.Staged) -> None:
        may_write.wait(60)
        real(folder, staged)

    monkeypatch.setattr(snapshots, "write_tensors", held_up)
    writer = SnapshotWriter(job)
    trained = (dict(model.named_parameters()), optimizer)
    writer.start(7, trained, {"state.json": "{}"}, {"consumed": 3})
    with torch.no_grad():
        model.weight.fill_(9.0)  # the training goes on
    assert not (job.folder / "snapshots/00000007").exists()
    may_write.set()
    writer.wait()
    written = load_file(next((job.folder / "snapshots/00000007").glob("trainable.*")))
    assert torch.equal(written["weight"], before)
    seen = [event for event in events(job.folder / "job.json") if event["event"] == "snapshot"]
    assert [(event["step"], event["state"]) for event in seen] == [(7, {"consumed": 3})]


def test_what_stops_the_writing_stops_the_training_at_the_next_snapshot(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots, "write_tensors", full)
    model, optimizer = _trained()
    writer = SnapshotWriter(job)
    trained = (dict(model.named_parameters()), optimizer)
    writer.start(1, trained, {}, {})
    with pytest.raises(OSError, match="No space left"):
        writer.start(2, trained, {}, {})
    assert not list((job.folder / "snapshots").glob("[0-9]*"))


def test_a_step_that_has_a_snapshot_is_not_written_again(job: Any) -> None:
    model, optimizer = _trained()
    writer = SnapshotWriter(job)
    for _ in range(2):
        trained = (dict(model.named_parameters()), optimizer)
        writer.start(4, trained, {}, {})
        writer.wait()
    assert [event["event"] for event in events(job.folder / "job.json")] == ["snapshot"]


def test_a_leap_is_a_spike_and_a_fall_or_a_slow_rise_is_none() -> None:
    guard = SpikeGuard(factor=4.0, window=5)
    guard.check("loss", 3, [1.0] * 4, 100.0)  # too early to tell
    guard.check("loss", 9, [1.0, 1.1, 0.9, 50.0, 1.0], 4.0)  # one leap moves no median
    guard.check("loss", 9, [1.0] * 5, 0.01)
    with pytest.raises(StageFailure, match="loss is 4.5, above 4 times 1") as failure:
        guard.check("loss", 9, [1.0] * 5, 4.5)
    assert failure.value.code == "LOSS_SPIKE"
    assert failure.value.details == {"step": 9, "figure": "loss", "value": 4.5, "median": 1.0}
