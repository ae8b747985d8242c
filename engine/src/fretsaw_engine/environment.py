"""What a job runs on: kept with its attempt, never in a key. Bits are equal only for equal world
size, threads and instruction set, so a record has to say them.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "safetensors",
    "numpy",
    "onnx",
    "onnxscript",
)


def environment_of_job(threads: int) -> dict[str, dict[str, str | int]]:
    """`versions` of what computes, and the `machine`: processes, threads of each, instruction set,
    device. Imports nothing that the stage has not imported itself.
    """
    instruction_set, device = "unknown", "cpu"
    if (torch := sys.modules.get("torch")) is not None:
        instruction_set = torch.backends.cpu.get_cpu_capability()
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else device
    return {
        "versions": {"python": platform.python_version(), **_library_versions()},
        "machine": {
            "world_size": int(os.environ.get("WORLD_SIZE", "1")),
            "threads": threads,
            "instruction_set": instruction_set,
            "device": device,
        },
    }


def _library_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        if name not in sys.modules:
            continue
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
