"""`python -m fretsaw_engine JOB.json`: run one job in this process (also under torchrun)."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from fretsaw_engine.job import read_job, run_job


def main(job_file: str) -> int:
    job = read_job(Path(job_file))
    os.environ.setdefault("OMP_NUM_THREADS", str(job.threads))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    stage = importlib.import_module(f"fretsaw_engine.stages.{job.kind.replace('-', '_')}")
    return run_job(job, stage.run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
