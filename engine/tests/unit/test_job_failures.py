"""What a stage raises becomes one closed code."""

import json

import pytest

from fretsaw_engine.job import Job, StageFailure, run_job


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StageFailure("NAN_LOSS", "loss is nan"), "NAN_LOSS"),
        (MemoryError("no more"), "OUT_OF_MEMORY"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "OUT_OF_MEMORY"),
        (OSError(28, "No space left on device"), "DISK_FULL"),
        (Exception("Error: I/O error: No space left on device (os error 28)"), "DISK_FULL"),
        (KeyError("weight"), "ENGINE_BUG"),
    ],
)
def test_an_exception_has_one_code(tmp_path, error, code):
    job = Job(
        key="sha256:" + "0" * 64,
        kind="distill",
        version="1",
        attempt=1,
        settings={},
        inputs={},
        outputs={},
        resources={},
        threads=1,
        folder=tmp_path,
        resume=None,
        lease_seconds=0,
    )

    def stage(_job):
        raise error

    assert run_job(job, stage) != 0
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "failed"
    assert events[-1]["code"] == code
    assert not (tmp_path / "done.json").exists()
