"""Tensors by name: in memory up to a budget, the rest in files.

The inputs of a layer that are kept for scoring are as many as calibration has tokens: 11.5 KB a
token and layer at hidden size 2880.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.torch import load_file, save_file

from fretsaw_engine.training import distributed

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from fretsaw_engine.job import Job


class Kept:
    """A store of float tensors. What memory has no room for when it is put goes to `folder`."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self._folder = folder
        self._budget = budget_bytes
        self._memory: dict[str, torch.Tensor] = {}
        self._files: set[str] = set()
        self.spilled_bytes = 0
        """Bytes ever written to files."""

    @staticmethod
    def of_job(job: Job, budget_bytes: int) -> Kept:
        """One for this rank, in the job's folder."""
        return Kept(job.folder / "kept" / str(distributed.rank()), budget_bytes)

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Keep `tensor` under `name`, in place of what was there."""
        self.drop(name)
        size = tensor.numel() * tensor.element_size()
        held = sum(t.numel() * t.element_size() for t in self._memory.values())
        if held + size <= self._budget:
            self._memory[name] = tensor
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        save_file({"kept": tensor.cpu().contiguous()}, self._path(name))
        self._files.add(name)
        self.spilled_bytes += size

    def get(self, name: str) -> torch.Tensor:
        """The tensor, on the CPU if it was in a file; KeyError if nothing was put there."""
        if name in self._memory:
            return self._memory[name]
        if name not in self._files:
            raise KeyError(name)
        return load_file(self._path(name))["kept"]

    def drop(self, name: str) -> None:
        self._memory.pop(name, None)
        if name in self._files:
            self._files.remove(name)
            self._path(name).unlink()

    def clear(self) -> None:
        for name in [*self._memory, *self._files]:
            self.drop(name)

    def __contains__(self, name: str) -> bool:
        return name in self._memory or name in self._files

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"
