"""Which rows of packed data a distillation sees, in which order, and when it has seen enough.

All input data sets are one list of rows. Every pass over it is a new permutation, drawn from the
seed and the number of the pass; passes follow each other without a seam. So the data position is
the step alone, and a resumed run, or one on more processes, sees what the undisturbed one saw.

Shape suffixes: R rows, T tokens of a row, B rows of a batch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fretsaw_engine.data.packed import PADDING, TENSORS, Packed, pack
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

IGNORED = -100
"""Label of a position that is not trained on (Hugging Face's convention)."""


def join(parts: Sequence[Packed], sequence_length: int) -> Packed:
    """All rows of all parts, packed anew where a part's rows have another length.

    `document_ids` are only unique within a row afterwards, which is what attention needs.
    """
    fitted = [
        part
        if part.input_ids.shape[1] == sequence_length
        else pack(_documents(part), sequence_length)
        for part in parts
    ]
    if not fitted:
        raise StageFailure("BAD_INPUT", "no data set has packed rows to train on")
    return Packed(**{name: torch.cat([getattr(part, name) for part in fitted]) for name in TENSORS})


def labels(packed: Packed) -> torch.Tensor:
    """[R, T] int64: at each position the next token, if the assistant wrote it in the same
    document.
    """
    label_RT = torch.full(packed.input_ids.shape, IGNORED, dtype=torch.int64)
    same_RT = packed.document_ids[:, 1:] == packed.document_ids[:, :-1]
    trained_RT = same_RT & (packed.loss_mask[:, 1:] == 1) & (packed.document_ids[:, 1:] != PADDING)
    label_RT[:, :-1] = torch.where(trained_RT, packed.input_ids[:, 1:].long(), IGNORED)
    return label_RT


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


def plan(packed: Packed, *, tokens: int, batch: int, seed: int) -> Plan:
    """Enough steps of `batch` rows to consume at least `tokens` tokens, and no more."""
    size_R = (packed.document_ids != PADDING).sum(1).long()
    if not int(size_R.sum()):
        raise StageFailure("BAD_INPUT", "the data has no tokens")
    order = torch.empty(0, dtype=torch.int64)
    consumed = [0]
    passes = 0
    while consumed[-1] < tokens:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + passes)
        order = torch.cat((order, torch.randperm(len(packed), generator=generator)))
        passes += 1
        while consumed[-1] < tokens and len(consumed) * batch <= len(order):
            start = (len(consumed) - 1) * batch
            consumed.append(consumed[-1] + int(size_R[order[start : start + batch]].sum()))
    order = order[: (len(consumed) - 1) * batch]
    digest = hashlib.sha256(order.numpy().tobytes())
    for name in TENSORS:
        digest.update(getattr(packed, name).contiguous().numpy().tobytes())
    return Plan(order=order, batch=batch, consumed=consumed, digest=f"sha256:{digest.hexdigest()}")


class PlannedRows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The plan's rows one after the other: to be read in order, once."""

    def __init__(self, packed: Packed, chosen: Plan) -> None:
        self._packed = packed
        self.all_labels = labels(packed)
        self._plan = chosen

    def __len__(self) -> int:
        return len(self._plan.order)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return self.row(int(self._plan.order[position]))

    def row(self, index: int) -> dict[str, torch.Tensor]:
        return {
            "row": torch.tensor(index),
            "input_ids": self._packed.input_ids[index].long(),
            "position_ids": self._packed.position_ids[index].long(),
            "document_ids": self._packed.document_ids[index],
            "labels": self.all_labels[index],
        }

    def rows(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        return collate([self.row(index) for index in indices])


def collate(rows: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _documents(packed: Packed) -> list[Document]:
    found = []
    for row in range(len(packed)):
        owner_T = packed.document_ids[row]
        for owner in dict.fromkeys(owner_T[owner_T != PADDING].tolist()):
            at = owner_T == owner
            ids, mask = packed.input_ids[row][at], packed.loss_mask[row][at]
            found.append(Document(ids=ids.tolist(), mask=mask.tolist()))
    return found
