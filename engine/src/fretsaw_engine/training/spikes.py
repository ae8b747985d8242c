"""A loss or a gradient that leaps: stopped with a code, not trained through.

A figure spikes when it is above `factor` times the median of the steps before it. The median does
not move with a single leap, and the first `window` steps, in which a loss falls from where it
began, are only collected.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class SpikeGuard:
    """Watches one figure that is above 0, over the last `window` steps."""

    factor: float
    window: int = 20

    def check(self, name: str, step: int, before: Sequence[float], value: float) -> None:
        """LOSS_SPIKE if `value` leaps out of `before`, the figures of the last steps."""
        if len(before) < self.window:
            return
        usual = statistics.median(before)
        if value > self.factor * usual:
            raise StageFailure(
                "LOSS_SPIKE",
                f"step {step}: {name} is {value:.6g}, above {self.factor:g} times {usual:.6g}, the "
                f"median of the {self.window} steps before",
                {"step": step, "figure": name, "value": value, "median": usual},
            )
