"""How a job's memory is shared out: a half for weights that stay, a quarter each for kept layer
inputs and for what is worked on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fretsaw_engine.job import Job

DEFAULT_GIB = 4.0
"""When `resources.memory_gib` says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Bytes. Part of no result."""

    weights: int
    kept: int
    working: int

    @staticmethod
    def of(memory_gib: float) -> Budget:
        quarter = int(memory_gib * 2**30 / 4)
        return Budget(weights=2 * quarter, kept=quarter, working=quarter)

    @staticmethod
    def of_job(job: Job) -> Budget:
        return Budget.of(float(job.resources.get("memory_gib") or DEFAULT_GIB))
