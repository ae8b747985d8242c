"""The teacher's hidden states of rows that are seen several times, read once and kept.

Shape suffixes: S supervised tokens of a batch, E teacher width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fretsaw_engine.methods.distill.rows import IGNORED
from fretsaw_engine.training import distributed

if TYPE_CHECKING:
    from collections.abc import Callable

    from fretsaw_engine.methods.distill.pair import Batch, Pair

GROUP = 8
"""Rows that the teacher reads at once, always the same ones together: how a matrix product rounds
depends on its other rows, and a resumed run must find the same bits."""

KEPT_BYTES = 2**30
"""At most this much is kept of the teacher."""


class KnownStates:
    """Hidden states of the supervised tokens, by row."""

    def __init__(self, pair: Pair, rows: Callable[[list[int]], Batch], total: int) -> None:
        self._pair = pair
        self._rows = rows
        self._total = total
        self._known: dict[int, torch.Tensor] = {}

    def of(self, batch: Batch) -> torch.Tensor:
        """[S, E], supervised tokens of the batch in order."""
        indices = [int(index) for index in batch["row"]]
        for index in indices:
            if index not in self._known:
                self._read(index // GROUP)
        return torch.cat([self._known[index] for index in indices])

    @torch.no_grad()
    def _read(self, group: int) -> None:
        indices = list(range(group * GROUP, min((group + 1) * GROUP, self._total)))
        target = distributed.device()
        batch = {name: value.to(target) for name, value in self._rows(indices).items()}
        sizes = (batch["labels"] != IGNORED).sum(1).tolist()
        parts = self._pair(batch).split(sizes)
        self._known.update(zip(indices, parts, strict=True))


def worth_keeping(supervised: int, width: int, passes: float) -> bool:
    """Data seen twice or more, that fits, on one process (a sharded teacher must be called by all
    ranks alike)."""
    small = supervised * width * 4 <= KEPT_BYTES
    return distributed.world_size() == 1 and passes >= 2 and small
