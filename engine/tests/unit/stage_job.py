"""Run a stage as the control plane would: a job folder, a job file, `run_job`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fretsaw_engine.job import read_job, run_job


@dataclass(frozen=True)
class Finished:
    code: int
    last_event: dict[str, Any]
    folder: Path

    def out(self, name: str) -> Path:
        return self.folder / "out" / name


def artifact(value: Any) -> Any:
    """Folders as the artifacts of a job file, in lists and maps too."""
    if isinstance(value, dict):
        return {name: artifact(v) for name, v in value.items()}
    if isinstance(value, list):
        return [artifact(v) for v in value]
    return {"digest": f"sha256:{Path(value).name}", "path": str(value)}


def write_job(folder: Path, kind: str, inputs: dict, outputs: list[str], settings: dict) -> Path:
    folder.mkdir(parents=True)
    document = {
        "schema": "fretsaw/job/v1",
        "key": "0" * 64,
        "kind": kind,
        "version": "1",
        "attempt": 1,
        "with": settings,
        "inputs": {name: artifact(value) for name, value in inputs.items()},
        "outputs": {name: str(folder / "out" / name) for name in outputs},
        "resources": {},
        "threads": 1,
        "folder": str(folder),
        "lease": {"seconds": 0},
    }
    path = folder / "job.json"
    path.write_text(json.dumps(document))
    return path


def run_stage(stage: Any, folder: Path, inputs: dict, outputs: list[str], **settings) -> Finished:
    kind = stage.__name__.rsplit(".", 1)[1].replace("_", "-")
    job = read_job(write_job(folder, kind, inputs, outputs, settings))
    code = run_job(job, stage.run)
    events = (folder / "events.jsonl").read_text().splitlines()
    return Finished(code, json.loads(events[-1]), folder)
