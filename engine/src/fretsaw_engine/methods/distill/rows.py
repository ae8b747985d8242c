"""Which rows of packed data a distillation sees, in which order, and when it has seen enough.

All input data sets are one list of rows. Every pass over it is a new permutation, drawn from the
seed and the number of the pass; passes follow each other without a seam. So the data position is
the step alone, and a resumed run, or one on more processes, sees what the undisturbed one saw.

Shape suffixes: R rows, T tokens of a row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fretsaw_engine.data.packed import PADDING
from fretsaw_engine.job import StageFailure
from fretsaw_engine.training.context import Context, pieces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fretsaw_engine.data.stored import StoredRows

IGNORED = -100
"""Label of a position that is not trained on (Hugging Face's convention)."""


def labels(row: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """[T] int64: at each position the next token, if the assistant wrote it in the same
    document.
    """
    owner_T = row["document_ids"]
    label_T = torch.full(owner_T.shape, IGNORED, dtype=torch.int64)
    next_T = (owner_T[1:] == owner_T[:-1]) & (row["loss_mask"][1:] == 1) & (owner_T[1:] != PADDING)
    label_T[:-1] = torch.where(next_T, row["input_ids"][1:].long(), IGNORED)
    return label_T


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The rows in the order in which they are consumed, `batch` at a step."""

    order: torch.Tensor
    batch: int
    consumed: list[int]
    """Tokens (without padding) consumed after 0, 1, 2 ... steps."""
    digest: str

    @property
    def steps(self) -> int:
        return len(self.consumed) - 1

    @property
    def passes(self) -> float:
        """How often the average row is seen."""
        return len(self.order) / (int(self.order.max()) + 1)


def plan(size_R: torch.Tensor, *, tokens: int, batch: int, seed: int, data: Sequence[str]) -> Plan:
    """Enough steps of `batch` rows to consume at least `tokens` tokens, and no more.

    `size_R`: tokens of every row. `data`: digests of the data sets, in the order of their rows.
    """
    if not int(size_R.sum()):
        raise StageFailure("BAD_INPUT", "the data has no tokens")
    passes = 0
    order = torch.empty(0, dtype=torch.int64)
    consumed = [0]
    while consumed[-1] < tokens:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + passes)
        order = torch.cat((order, torch.randperm(len(size_R), generator=generator)))
        passes += 1
        while consumed[-1] < tokens and len(consumed) * batch <= len(order):
            start = (len(consumed) - 1) * batch
            consumed.append(consumed[-1] + int(size_R[order[start : start + batch]].sum()))
    order = order[: (len(consumed) - 1) * batch]
    digest = hashlib.sha256("\n".join([*data, ""]).encode())
    digest.update(size_R.numpy().tobytes())
    digest.update(order.numpy().tobytes())
    return Plan(order=order, batch=batch, consumed=consumed, digest=f"sha256:{digest.hexdigest()}")


class PlannedRows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The plan's rows one after the other: to be read in order, once.

    Where a row is shared by several ranks (`context`), every rank in turn gets its part of it:
    micro-batch b, counted over all ranks as accelerate deals them out, is part b mod n of its rows.
    """

    def __init__(
        self, stored: StoredRows, chosen: Plan, micro: int = 1, context: Context | None = None
    ) -> None:
        self._stored = stored
        self._plan = chosen
        self._micro = micro
        self._context = context

    def __len__(self) -> int:
        return len(self._plan.order) * (1 if self._context is None else self._context.ranks)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        if self._context is None:
            return self.row(int(self._plan.order[position]))
        ranks = self._context.ranks
        batch, inside = divmod(position, self._micro)
        at = (batch // ranks) * self._micro + inside
        return self.row(int(self._plan.order[at]), batch % ranks)

    def row(self, index: int, part: int | None = None) -> dict[str, torch.Tensor]:
        """One row; with `part`, that rank's tokens of it, and the documents of all."""
        stored = self._stored.row(index)
        row = {
            "row": torch.tensor(index),
            "input_ids": stored["input_ids"].long(),
            "position_ids": stored["position_ids"].long(),
            "document_ids": stored["document_ids"],
            "labels": labels(stored),
        }
        if part is None or self._context is None:
            return row
        mine = pieces(len(row["labels"]), self._context.ranks, part)
        cut = {name: row[name][mine] for name in ("input_ids", "position_ids", "labels")}
        return {**row, **cut}

    def rows(self, indices: Sequence[int], part: int | None = None) -> dict[str, torch.Tensor]:
        return collate([self.row(index, part) for index in indices])


def collate(rows: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
