"""How calibration data is cut: rows into units, units into shards.

A unit is what runs at once: some rows, always the same ones, so that every figure of a unit has the
same bits however the data is split over processes. A shard is what one process works on at a time,
layer by layer, and what a restarted job does not do again; its tallies are added up in order. So
neither the number of processes nor a restart is part of any result.

Shape suffixes: B rows, T tokens of a row, N = B * T tokens flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fretsaw_engine.data.packed import PADDING, Packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

TOKENS_PER_UNIT = 4096
"""Tokens of a unit, in whole rows; a longer row is a unit by itself."""

UNITS_PER_SHARD = 16
"""At 4096 tokens a unit, 65,536 tokens: every expert's weights are read once for so many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Rows that run at once. `index` counts units over all data, `first_row` rows."""

    index: int
    first_row: int
    input_ids_BT: torch.Tensor
    position_ids_BT: torch.Tensor
    document_ids_BT: torch.Tensor
    loss_mask_BT: torch.Tensor

    @property
    def counted_BT(self) -> torch.Tensor:
        """Which tokens are data, not padding."""
        return self.document_ids_BT != PADDING

    def place(self, token: int) -> str:
        """A token of the flat unit, as messages name it."""
        length = self.input_ids_BT.shape[1]
        return f"row {self.first_row + token // length}, token {token % length}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    index: int
    units: list[Unit]

    @property
    def rows(self) -> tuple[int, int]:
        """First row and the one behind the last."""
        last = self.units[-1]
        return self.units[0].first_row, last.first_row + last.input_ids_BT.shape[0]


def shards_of(packed: Packed, device: torch.device | None = None) -> list[Shard]:
    """All rows, in order."""
    rows = max(1, TOKENS_PER_UNIT // packed.input_ids.shape[1])
    units = [
        _unit(index, start, packed.rows(start, start + rows), device)
        for index, start in enumerate(range(0, len(packed), rows))
    ]
    return [
        Shard(index=index, units=units[start : start + UNITS_PER_SHARD])
        for index, start in enumerate(range(0, len(units), UNITS_PER_SHARD))
    ]


def groups(units: Sequence[Unit], unit_bytes: int, budget_bytes: int) -> list[list[Unit]]:
    """As many units together as the budget holds, one at least."""
    at_once = max(1, budget_bytes // max(1, unit_bytes))
    return [list(units[start : start + at_once]) for start in range(0, len(units), at_once)]


def _unit(index: int, first_row: int, part: Packed, device: torch.device | None) -> Unit:
    return Unit(
        index=index,
        first_row=first_row,
        input_ids_BT=part.input_ids.long().to(device),
        position_ids_BT=part.position_ids.long().to(device),
        document_ids_BT=part.document_ids.to(device),
        loss_mask_BT=part.loss_mask.to(device),
    )
