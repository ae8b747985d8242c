"""What makes two runs of one training equal bit for bit on the CPU, and what has to be kept to go
on from the middle.

Equal means: equal world size, equal number of threads, equal instruction set (measured: two
threads, or AVX2 for AVX-512, give other bits). The seed is a setting; the threads come from the
job file.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from torch.utils import deterministic


def make_deterministic(seed: int, threads: int) -> None:
    """Seed every generator, fix the threads, ask torch for deterministic kernels only.

    On CUDA some kernels have no deterministic form: torch warns there instead of refusing.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Filling fresh memory with NaN helps to find reads of it and costs a pass over every tensor.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a property of the module's class
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture_random_state() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All generators of this process: tensors for safetensors, and the few values that go into
    JSON.
    """
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    values = {
        "python": {"version": version, "gauss": gauss},
        "numpy": {
            "name": name,
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
    }
    return tensors, values


def restore_random_state(tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
    """Undo `capture_random_state`."""
    python, numpy = values["python"], values["numpy"]
    random.setstate((python["version"], tuple(tensors["python"].tolist()), python["gauss"]))
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state(
        (numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"])
    )
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
