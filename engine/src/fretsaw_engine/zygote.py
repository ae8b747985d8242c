"""A warm parent: it imports PyTorch, transformers and TRL once (seconds), then forks a job in
milliseconds.

    python -m fretsaw_engine.zygote SOCKET [--idle-seconds N]

It listens on a unix socket (mode 0600). One JSON line asks, one answers:

    {"job": path, "log": path, "env": {name: text}}  ->  {"host", "pid", "started"}
    {"ping": true}                                   ->  {"pong": true, "pid"}
    what it cannot do                                ->  {"error": text, "cold": bool}

`cold` means: start this job by `python -m fretsaw_engine JOB.json` instead. A job that wants a GPU
is one, because CUDA must be set up by the process that uses it.

What a fork must not inherit: the socket, threads, and state that depends on who ran before. So
nothing of PyTorch is run here, and only other people's packages are imported: a job reads the
engine's own code afresh. A job is a session and process group of its own (its pid can be signalled
as a group) and outlives this process. Beside it stays a small keeper that writes two files into the
job folder: at once `process.json`, what the answer says, so that a worker killed before it reads
that leaves no job that nobody finds; and when the job has ended `exit`, the exit code and a
newline, 128 + n after signal n, as a shell would say.

The zygote ends when its parent does, or when nobody asked for `--idle-seconds` (15 minutes).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE_SECONDS = 900.0
POLL_SECONDS = 1.0
LARGEST_REQUEST = 1 << 20
REQUEST_SECONDS = 10.0

PACKAGES = (
    "torch",
    "torch.distributed",
    "safetensors.torch",
    "transformers",
    "transformers.models.gpt_oss.modeling_gpt_oss",
    "transformers.generation.utils",
    "transformers.trainer",
    "datasets",
    "trl",
    "trl.trainer.grpo_trainer",
    "onnx",
)
"""Imported once. None of ours: a forked job must run the code that is on disk when it starts."""


class Refused(Exception):
    """A request that is not carried out. `cold`: it may be, by a process of its own."""

    def __init__(self, message: str, *, cold: bool = False) -> None:
        super().__init__(message)
        self.cold = cold


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A job to fork."""

    job: Path
    log: Path
    env: dict[str, str]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m fretsaw_engine.zygote")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    options = parser.parse_args(arguments)
    parent = os.getppid()
    with listening(options.socket) as listener:
        warm_up()
        serve(listener, parent, options.idle_seconds)
    return 0


def warm_up() -> None:
    """Import everything heavy. Pages that no collection touches again stay shared with the jobs."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in PACKAGES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket that only this user can reach. A file that nobody answers at is replaced."""
    if _answers(path):
        raise SystemExit(f"{path}: another zygote answers here")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(64)
    inode = path.stat().st_ino
    try:
        yield listener
    finally:
        listener.close()
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == inode:
                path.unlink()


def serve(listener: socket.socket, parent: int, idle_seconds: float) -> None:
    """Answer until the parent is gone or nobody asks any more."""
    asked = time.monotonic()
    while os.getppid() == parent and time.monotonic() - asked < idle_seconds:
        _reap()
        ready, _, _ = select.select([listener], [], [], POLL_SECONDS)
        if not ready:
            continue
        asked = time.monotonic()
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(REQUEST_SECONDS)
            with contextlib.suppress(OSError):  # who asked may be gone
                connection.sendall(json.dumps(answer(connection, listener)).encode() + b"\n")


def answer(connection: socket.socket, listener: socket.socket) -> dict[str, Any]:
    """Read one request and do it."""
    try:
        document = _read_line(connection)
        if document.get("ping") is True:
            return {"pong": True, "pid": os.getpid()}
        return fork_job(parse(document), (connection, listener))
    except Refused as refused:
        return {"error": str(refused), "cold": refused.cold}


def parse(document: dict[str, Any]) -> Request:
    """Check a request; Refused says what is wrong with it."""
    if set(document) - {"job", "log", "env"}:
        raise Refused(f"unknown keys {sorted(set(document) - {'job', 'log', 'env'})}")
    job, log, env = document.get("job"), document.get("log"), document.get("env", {})
    if not isinstance(job, str) or not isinstance(log, str) or not isinstance(env, dict):
        raise Refused("expected job and log as paths and env as a map")
    if not all(isinstance(value, str) for value in env.values()):
        raise Refused("expected env as a map of texts")
    try:
        resources = json.loads(Path(job).read_text(encoding="utf-8")).get("resources") or {}
    except (OSError, ValueError, AttributeError) as error:
        raise Refused(f"job file {job}: {error}") from error
    if resources.get("gpus"):
        raise Refused("the job wants a GPU, which a forked process cannot set up", cold=True)
    return Request(job=Path(job), log=Path(log), env=env)


def fork_job(request: Request, inherited: tuple[socket.socket, socket.socket]) -> dict[str, Any]:
    """Fork the keeper, which forks the job and tells who it is."""
    try:
        log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise Refused(f"log {request.log}: {error}") from error
    told, tell = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(told)
        for one in inherited:
            one.close()
        _keep(request, log, tell)
    os.close(log)
    os.close(tell)
    with open(told, encoding="utf-8") as pipe:
        line = pipe.read()
    if not line:
        raise Refused("the job could not be forked", cold=True)
    return json.loads(line)


def identity(pid: int) -> dict[str, Any]:
    """Host, pid and start time: together they name a process for good, a pid alone is used again.

    `started` is `<boot id>/<start time in clock ticks>` (field 22 of proc_pid_stat(5)), and where
    there is no /proc what `ps` says.
    """
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        ticks = stat.read_text().rsplit(")", 1)[1].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        started = f"{boot}/{ticks}"
    else:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        started = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {"host": socket.gethostname(), "pid": pid, "started": started}


def _keep(request: Request, log: int, tell: int) -> None:
    """In the keeper: fork the job, wait for it, note its exit code. Never returns."""
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        job = os.fork()
        if job == 0:
            os.close(tell)
            _run(request)
        who = json.dumps(identity(job))
        _note(request.job.parent / "process.json", who)
        with open(tell, "w", encoding="utf-8") as pipe:
            pipe.write(who)
        code = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
        _note(request.job.parent / "exit", str(code if code >= 0 else 128 - code))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _note(path: Path, line: str) -> None:
    """Write by rename: whole or absent."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(f"{line}\n", encoding="utf-8")
    partial.rename(path)


def _run(request: Request) -> None:
    """In the job: what `python -m fretsaw_engine JOB.json` does. Never returns."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.environ.update(request.env)
        gc.unfreeze()
        threads = json.loads(request.job.read_text(encoding="utf-8"))["threads"]
        os.environ["OMP_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)
        from fretsaw_engine.__main__ import main as run_job_file

        code = run_job_file(str(request.job))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _read_line(connection: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        try:
            piece = connection.recv(65536)
        except OSError as error:
            raise Refused(f"no whole request came: {error}") from error
        if not piece:
            break
        data += piece
        if len(data) > LARGEST_REQUEST:
            raise Refused("the request is too long")
    try:
        document = json.loads(data)
    except ValueError as error:
        raise Refused(f"not a JSON line: {error}") from error
    if not isinstance(document, dict):
        raise Refused("expected a JSON object")
    return document


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def _reap() -> None:
    """Keepers that are done."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
