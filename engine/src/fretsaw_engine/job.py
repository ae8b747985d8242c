"""The door between the control plane and a stage: job file in, events out, done-manifest last.

The job file is JSON (`engine/contract/job.v1.schema.json`). While a stage runs it appends one JSON
object a line to the events file (`event.v1.schema.json`). Outputs are folders. When they are
complete the done-manifest (`done.v1.schema.json`) is written by rename, so it is whole or absent;
it alone means success, whatever the exit code says.

A job also watches its lease file: its supervisor touches it while it holds the lease of this
attempt. When the file is gone or older than `lease.seconds`, nobody wants this job's result any
more, and it stops itself (LEASE_LOST), so that no orphan computes for ever.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fretsaw_engine.environment import environment_of_job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FAILURE_CODES = frozenset(
    {
        "OUT_OF_MEMORY",
        "NAN_LOSS",
        "LOSS_SPIKE",
        "FROZEN_MOVED",
        "RESUME_DRIFT",
        "PREEMPTED",
        "LEASE_LOST",
        "NODE_LOST",
        "TIMEOUT",
        "STALLED",
        "BAD_INPUT",
        "DISK_FULL",
        "STORE_UNAVAILABLE",
        "VERSION_MISMATCH",
        "COMMAND_FAILED",
        "ENGINE_BUG",
        "DIGEST_MISMATCH",
    }
)


class StageFailure(Exception):
    """A failure with a closed code. `details` must be JSON."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        if code not in FAILURE_CODES:
            raise ValueError(f"bug: unknown failure code {code}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """An input: a read-only folder and the digest that the control plane verified."""

    digest: str
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Where to go on from: a folder written by `Job.snapshot`, and its step."""

    path: Path
    step: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt at one stage."""

    key: str
    kind: str
    version: str
    attempt: int
    settings: dict[str, Any]
    inputs: dict[str, Any]
    outputs: dict[str, Path]
    resources: dict[str, Any]
    threads: int
    folder: Path
    resume: Snapshot | None
    """Own snapshot to go on from, else the one of input `continues`."""
    lease_seconds: float
    continues: bool = False
    """`resume` is of another key: settings may differ from those that it was made with."""
    _rank: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    # ---- inputs

    def input(self, name: str) -> Artifact:
        """The one artifact of input `name`; BAD_INPUT when it is absent or a list."""
        value = self.inputs.get(name)
        if not isinstance(value, Artifact):
            raise StageFailure("BAD_INPUT", f"input {name}: expected one artifact, found {value!r}")
        return value

    def input_list(self, name: str) -> list[Artifact]:
        """Input `name` as a list: absent is empty, one artifact is a list of one."""
        value = self.inputs.get(name)
        if value is None:
            return []
        if isinstance(value, Artifact):
            return [value]
        return list(value.values()) if isinstance(value, dict) else list(value)

    def optional_input(self, name: str) -> Artifact | None:
        return self.input(name) if name in self.inputs else None

    # ---- events

    def emit(self, event: str, **fields: Any) -> None:
        """Append one event. Only rank 0 speaks, but for `failed`, which every rank may say."""
        if self._rank != 0 and event != "failed":
            return
        line = json.dumps({"event": event, "at": time.time(), "rank": self._rank, **fields})
        with self._lock, (self.folder / "events.jsonl").open("a", encoding="utf-8") as out:
            out.write(line + "\n")

    def progress(
        self, step: int, total: int, unit: str = "steps", rate: float | None = None
    ) -> None:
        """Tell how far the stage is; `rate` in units a second."""
        self.emit("progress", step=step, total=total, unit=unit, rate=rate)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of one step, kept with the attempt (loss, reward, lengths ...)."""
        self.emit("metrics", step=step, values={k: _finite(v) for k, v in values.items()})

    def snapshot(
        self, step: int, write: Callable[[Path], None], state: Mapping[str, Any] | None = None
    ) -> Path:
        """Write a resumable snapshot with `write(folder)`; it counts once its rename is done."""
        partial = self.begin_snapshot(step)
        if partial is None:
            return self._snapshot_folder(step)
        write(partial)
        return self.end_snapshot(step, partial, state)

    def begin_snapshot(self, step: int) -> Path | None:
        """An empty folder to write a snapshot into; None if the step has one already."""
        final = self._snapshot_folder(step)
        if final.exists():
            return None
        partial = final.with_name(f".{step:08d}.{os.getpid()}.partial")
        partial.mkdir(parents=True)
        return partial

    def end_snapshot(
        self, step: int, partial: Path, state: Mapping[str, Any] | None = None
    ) -> Path:
        """Make what `begin_snapshot` gave, and what was written there, count."""
        (partial / "snapshot.json").write_text(
            json.dumps(
                {
                    "schema": "fretsaw/snapshot/v1",
                    "key": self.key,
                    "attempt": self.attempt,
                    "step": step,
                    "state": dict(state or {}),
                },
                indent=1,
                sort_keys=True,
            )
        )
        _fsync_tree(partial)
        final = self._snapshot_folder(step)
        partial.rename(final)
        self.emit("snapshot", step=step, path=str(final), state=dict(state or {}))
        return final

    def _snapshot_folder(self, step: int) -> Path:
        return self.folder / "snapshots" / f"{step:08d}"

    # ---- stopping

    @property
    def should_stop(self) -> bool:
        """True once SIGTERM came: take a last snapshot and raise PREEMPTED when it is safe."""
        return self._stop.is_set()

    def stop_if_asked(self) -> None:
        if self.should_stop:
            raise StageFailure("PREEMPTED", "asked to stop")


def read_job(path: Path) -> Job:
    """Parse and check a job file. Unknown keys are errors (BAD_INPUT)."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageFailure("BAD_INPUT", f"job file {path}: {error}") from error
    known = {
        "schema", "key", "kind", "version", "attempt", "with", "inputs", "outputs",
        "resources", "threads", "folder", "resume", "lease",
    }  # fmt: skip
    if raw.get("schema") != "fretsaw/job/v1":
        raise StageFailure("BAD_INPUT", f"job file {path}: schema is {raw.get('schema')!r}")
    if unknown := sorted(set(raw) - known):
        raise StageFailure("BAD_INPUT", f"job file {path}: unknown keys {unknown}")
    outputs = {name: Path(folder) for name, folder in raw["outputs"].items()}
    for folder in outputs.values():
        folder.mkdir(parents=True, exist_ok=True)
    inputs = {name: _input(value) for name, value in raw["inputs"].items()}
    resume, continues = _resume(raw.get("resume"), inputs)
    return Job(
        key=raw["key"],
        kind=raw["kind"],
        version=raw["version"],
        attempt=raw["attempt"],
        settings=raw["with"],
        inputs=inputs,
        outputs=outputs,
        resources=raw["resources"],
        threads=raw["threads"],
        folder=Path(raw["folder"]),
        resume=resume,
        continues=continues,
        lease_seconds=raw["lease"]["seconds"],
        _rank=int(os.environ.get("RANK", "0")),
    )


def run_job(job: Job, stage: Callable[[Job], None]) -> int:
    """Run one stage under its lease; returns the exit code. The done-manifest is written last."""
    signal.signal(signal.SIGTERM, lambda *_: job._stop.set())
    watch = threading.Thread(target=_watch_lease, args=(job,), daemon=True)
    watch.start()
    try:
        job.emit("started", pid=os.getpid(), kind=job.kind, attempt=job.attempt)
        job.emit("environment", **environment_of_job(job.threads))
        stage(job)
        if job._rank == 0:
            write_done(job)
            job.emit("done")
        return 0
    except StageFailure as failure:
        return _failed(job, failure.code, failure.message, failure.details)
    except MemoryError as error:
        return _failed(job, "OUT_OF_MEMORY", str(error) or "host memory exhausted", {})
    except OSError as error:
        code = "DISK_FULL" if error.errno == 28 else "ENGINE_BUG"
        return _failed(job, code, str(error), {"traceback": traceback.format_exc()})
    except Exception as error:  # every other exception is our bug, said as such
        message = f"{type(error).__name__}: {error}"
        return _failed(job, _code_of(error), message, {"traceback": traceback.format_exc()})


def _code_of(error: Exception) -> str:
    """The code of an exception that is known by its text alone: other languages' libraries wrap
    theirs (safetensors says "os error 28" for a full disk, torch names its CPU allocator).
    """
    text = str(error)
    if "os error 28" in text:
        return "DISK_FULL"
    if type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in text:
        return "OUT_OF_MEMORY"
    return "ENGINE_BUG"


def write_done(job: Job) -> None:
    """Hash every output file and write `done.json` by rename."""
    outputs = {}
    for name, folder in sorted(job.outputs.items()):
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        outputs[name] = [
            {
                "path": p.relative_to(folder).as_posix(),
                "size": p.stat().st_size,
                "sha256": file_sha256(p),
            }
            for p in files
        ]
    document = {
        "schema": "fretsaw/done/v1",
        "key": job.key,
        "attempt": job.attempt,
        "outputs": outputs,
    }
    partial = job.folder / "done.json.partial"
    with partial.open("w", encoding="utf-8") as out:
        json.dump(document, out, indent=1, sort_keys=True)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(job.folder / "done.json")


def file_sha256(path: Path) -> str:
    """sha256 of a file, hex, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _resume(own: Any, inputs: dict[str, Any]) -> tuple[Snapshot | None, bool]:
    """The snapshot to go on from, and whether it is another key's: an attempt's own comes first."""
    if own is not None:
        return Snapshot(path=Path(own["path"]), step=own["step"]), False
    other = inputs.get("continues")
    if not isinstance(other, Artifact):
        return None, False
    try:
        note = json.loads((other.path / "snapshot.json").read_text(encoding="utf-8"))
        return Snapshot(path=other.path, step=int(note["step"])), True
    except (OSError, ValueError, KeyError) as error:
        raise StageFailure("BAD_INPUT", f"input continues: {other.path}: {error}") from error


def _input(value: Any) -> Any:
    if isinstance(value, list):
        return [_input(v) for v in value]
    if set(value) == {"digest", "path"}:
        return Artifact(digest=value["digest"], path=Path(value["path"]))
    return {name: _input(v) for name, v in value.items()}


def _failed(job: Job, code: str, message: str, details: Mapping[str, Any]) -> int:
    job.emit("failed", code=code, message=message, details=dict(details))
    return 75 if code == "PREEMPTED" else 1


def _finite(value: float) -> float | str:
    number = float(value)
    return number if number - number == 0 else repr(number)


def _fsync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)


def _watch_lease(job: Job) -> None:
    lease = job.folder / "lease"
    if job.lease_seconds <= 0:
        return
    while True:
        time.sleep(min(2.0, job.lease_seconds / 4))
        try:
            age = time.time() - lease.stat().st_mtime
        except FileNotFoundError:
            age = float("inf")
        if age > job.lease_seconds:
            job.emit("failed", code="LEASE_LOST", message="nobody renews this attempt", details={})
            os._exit(76)
