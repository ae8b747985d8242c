"""The warm parent with real processes: jobs run, outlive it, stop when told."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stage_job import write_job

from fretsaw_engine import zygote

STAGE = """
import os, signal, threading, time
import torch
from fretsaw_engine.job import Job

def run(job: Job) -> None:
    (job.folder / "seen.json").write_text(__import__("json").dumps({
        "threads": torch.get_num_threads(), "omp": os.environ["OMP_NUM_THREADS"],
        "env": os.environ.get("COLOUR"), "pgid": os.getpgid(0), "sid": os.getsid(0),
        "cpu_seconds": time.process_time(), "pid": os.getpid(), "ppid": os.getppid(),
        "sockets": [t for f in os.listdir("/proc/self/fd")
                    if (t := _link(f)) and t.startswith("socket")],
    }))
    print("from the job", flush=True)
    product = torch.randn(400, 400) @ torch.randn(400, 400)
    job.progress(1, 2)
    until = time.monotonic() + job.settings.get("seconds", 0)
    while time.monotonic() < until:
        time.sleep(0.02)
        job.stop_if_asked()
    if job.settings.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    (job.outputs["made"] / "made.txt").write_text(f"{product.shape[0]}")

def _link(f):
    try:
        return os.readlink(f"/proc/self/fd/{f}")
    except OSError:
        return None
"""

PARENT = """
import subprocess, sys
code = '''import sys
from fretsaw_engine import zygote
zygote.PACKAGES = {packages}
sys.exit(zygote.main(sys.argv[1:]))'''
child = subprocess.Popen([sys.executable, "-c", code, *sys.argv[1:]])
print(child.pid, flush=True)
child.wait()
"""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks processes up in /proc"
)


class Zygote:
    """A zygote whose parent is a small process of its own, so that the parent can be killed."""

    def __init__(self, folder: Path, packages: str = "zygote.PACKAGES") -> None:
        self.socket = folder / "z"
        code = PARENT.format(packages=packages)
        stages = folder / "stages"
        stages.mkdir()
        (stages / "nap.py").write_text(STAGE)
        self.env = {"PYTHONPATH": str(folder / "site")}
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(
            f"import fretsaw_engine.stages as s; s.__path__.append({str(stages)!r})\n"
        )
        self.parent = subprocess.Popen(
            [sys.executable, "-c", code, str(self.socket), "--idle-seconds", "600"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | self.env,
        )
        assert self.parent.stdout is not None
        self.pid = int(self.parent.stdout.readline())
        wait_for(self.socket.exists, 300)

    def ask(self, request) -> dict:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(300)
            client.connect(str(self.socket))
            text = request if isinstance(request, bytes) else json.dumps(request).encode()
            client.sendall(text + b"\n")
            return json.loads(client.makefile().readline())

    def start(self, folder: Path, *, lease: float = 0, gpus: int = 0, **settings) -> dict:
        path = write_job(folder, "nap", {}, ["made"], settings)
        document = json.loads(path.read_text())
        document["lease"]["seconds"] = lease
        document["threads"] = 2
        document["resources"] = {"gpus": gpus} if gpus else {}
        path.write_text(json.dumps(document))
        (folder / "lease").touch()
        return self.ask({"job": str(path), "log": str(folder / "log"), "env": {"COLOUR": "blue"}})


def wait_for(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def exit_code(folder: Path) -> int:
    wait_for((folder / "exit").exists)
    return int((folder / "exit").read_text())


def last_event(folder: Path) -> dict:
    return json.loads((folder / "events.jsonl").read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    found = Zygote(tmp_path_factory.mktemp("zygote"))
    yield found
    found.parent.kill()
    wait_for(lambda: not is_running(found.pid))


@pytest.fixture
def own(tmp_path):
    found = Zygote(tmp_path, packages="('torch',)")  # its lifetime is tested, not its imports
    yield found
    found.parent.kill()


def test_a_job_runs_with_its_own_threads_environment_group_and_log(warm, tmp_path):
    told = warm.start(tmp_path / "job")
    assert exit_code(tmp_path / "job") == 0
    assert (tmp_path / "job" / "done.json").exists()
    assert last_event(tmp_path / "job")["event"] == "done"
    assert (tmp_path / "job" / "log").read_text() == "from the job\n"
    seen = json.loads((tmp_path / "job" / "seen.json").read_text())
    assert (seen["threads"], seen["omp"], seen["env"]) == (2, "2", "blue")
    assert seen["pid"] == seen["pgid"] == seen["sid"] == told["pid"]
    assert seen["sockets"] == []
    assert told["host"] == socket.gethostname()


def test_the_answer_names_the_process_by_its_start_time(warm, tmp_path):
    told = warm.start(tmp_path / "job", seconds=1)
    fields = Path(f"/proc/{told['pid']}/stat").read_text().rsplit(")", 1)[1].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert told["started"] == f"{boot}/{fields[19]}"
    assert json.loads((tmp_path / "job" / "process.json").read_text()) == told
    assert exit_code(tmp_path / "job") == 0


def test_a_forked_job_imports_nothing_heavy_again(warm, tmp_path):
    warm.start(tmp_path / "job")
    assert exit_code(tmp_path / "job") == 0
    seen = json.loads((tmp_path / "job" / "seen.json").read_text())
    assert seen["cpu_seconds"] < 1.5  # torch alone is more


def test_jobs_run_side_by_side(warm, tmp_path):
    told = [warm.start(tmp_path / f"job{i}", seconds=0.5) for i in range(3)]
    assert len({one["pid"] for one in told}) == 3
    assert [exit_code(tmp_path / f"job{i}") for i in range(3)] == [0, 0, 0]


def test_sigterm_to_the_group_leads_to_preempted(warm, tmp_path):
    told = warm.start(tmp_path / "job", seconds=60)
    wait_for((tmp_path / "job" / "seen.json").exists)
    os.killpg(told["pid"], signal.SIGTERM)
    assert exit_code(tmp_path / "job") == 75
    assert last_event(tmp_path / "job")["code"] == "PREEMPTED"
    assert warm.ask({"ping": True})["pong"] is True


def test_a_lost_lease_stops_the_job(warm, tmp_path):
    told = warm.start(tmp_path / "job", seconds=60, lease=1)
    wait_for((tmp_path / "job" / "seen.json").exists)
    (tmp_path / "job" / "lease").unlink()
    assert exit_code(tmp_path / "job") == 76
    assert last_event(tmp_path / "job")["code"] == "LEASE_LOST"
    assert not is_running(told["pid"])


def test_death_by_a_signal_is_noted_as_a_shell_would(warm, tmp_path):
    warm.start(tmp_path / "job", kill=True)
    assert exit_code(tmp_path / "job") == 128 + signal.SIGKILL
    assert not (tmp_path / "job" / "done.json").exists()


def test_a_job_outlives_the_zygote_and_its_exit_is_still_noted(own, tmp_path):
    told = own.start(tmp_path / "job", seconds=1.5)
    wait_for((tmp_path / "job" / "seen.json").exists)
    os.kill(own.pid, signal.SIGKILL)
    own.parent.kill()
    wait_for(lambda: not is_running(own.pid))
    assert is_running(told["pid"])
    assert exit_code(tmp_path / "job") == 0
    assert (tmp_path / "job" / "done.json").exists()


def test_the_zygote_ends_with_its_parent_and_leaves_no_socket(own):
    own.ask({"ping": True})
    own.parent.kill()
    wait_for(lambda: not is_running(own.pid))
    assert not own.socket.exists()


def test_only_this_user_can_reach_the_socket(warm):
    assert stat.S_IMODE(warm.socket.stat().st_mode) == 0o600


def test_a_second_zygote_on_one_socket_gives_up(warm):
    result = subprocess.run(
        [sys.executable, "-m", "fretsaw_engine.zygote", str(warm.socket)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert "another zygote answers here" in result.stderr
    assert warm.ask({"ping": True})["pong"] is True


def test_a_job_that_wants_a_gpu_is_sent_to_a_cold_start(warm, tmp_path):
    told = warm.start(tmp_path / "job", gpus=1)
    assert told["cold"] is True
    assert not (tmp_path / "job" / "log").exists()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (b"not json", "not a JSON line"),
        (b"[1]", "JSON object"),
        ({"job": "/nowhere/job.json", "log": "/nowhere/log"}, "job file /nowhere/job.json"),
        ({"job": 3, "log": "x"}, "expected job and log"),
        ({"job": "a", "log": "x", "env": {"A": 1}}, "map of texts"),
        ({"job": "a", "log": "x", "colour": "red"}, "unknown keys"),
    ],
)
def test_a_wrong_request_is_answered_and_harms_nothing(warm, request_, message):
    assert message in warm.ask(request_)["error"]
    assert warm.ask({"ping": True})["pong"] is True


def test_a_caller_that_hangs_up_harms_nothing(warm):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(warm.socket))
    assert warm.ask({"ping": True})["pong"] is True


def test_a_socket_that_nobody_answers_at_is_replaced(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with zygote.listening(path) as listener:
        assert listener.getsockname() == str(path)
        assert path.exists()
    assert not path.exists()


def test_an_idle_zygote_ends(tmp_path):
    with zygote.listening(tmp_path / "s") as listener:
        start = time.monotonic()
        zygote.serve(listener, os.getppid(), idle_seconds=0.1)
        assert time.monotonic() - start < 60
