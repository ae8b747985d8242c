"""Run a command and every process that it leaves behind; note wall, CPU seconds and peak memory.

Node cannot adopt orphans, so this is Python: as a child subreaper it inherits detached processes
(a Temporal server, a worker) when their parents end, and their CPU time counts.

    measure.py [--memory] OUT.json COMMAND [ARGUMENT ...]

`peak_mib` is the largest process's. With `--memory` all processes are looked at once a second, and
`total_mib` is the largest sum of what they hold (PSS: a page that n processes share counts 1/n to
each).
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time

PR_SET_CHILD_SUBREAPER = 36


class TotalMemory(threading.Thread):
    """The largest sum of PSS over this process's descendants."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest_kib = 0
        self.looks = 0

    def run(self) -> None:
        while True:
            self.largest_kib = max(self.largest_kib, sum(map(pss_kib, descendants(os.getpid()))))
            self.looks += 1
            time.sleep(1)


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
            children.setdefault(parent, []).append(int(entry))
    found, open_ = [], [root]
    while open_:
        below = children.get(open_.pop(), [])
        found += below
        open_ += below
    return found


def pss_kib(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


def main(report: str, command: list[str], *, memory: bool) -> int:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    total = TotalMemory()
    if memory:
        total.start()
    started = time.monotonic()
    child = subprocess.Popen(command)
    code = child.wait()
    wall = time.monotonic() - started
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "exit": code,
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }
    if memory:
        figures |= {"total_mib": total.largest_kib / 1024, "looks": total.looks}
    with open(report, "w", encoding="utf-8") as out:
        json.dump(figures, out)
    return code


if __name__ == "__main__":
    words = sys.argv[1:]
    with_memory = words[0] == "--memory"
    report_file, *rest = words[1:] if with_memory else words
    sys.exit(main(report_file, rest, memory=with_memory))
