"""What a full-attention layer is worth where the answer lies far back.

The score of (layer, window) is the accuracy of the parent minus the accuracy of the parent with
that one layer windowed, on recall-like examples. An example counts as right if the model's most
likely token is the reference's at every answer position, given the reference before it: for one
reference answer that is the same as greedy decoding being right, at the price of one forward pass.

The standard error is that of the paired differences. A loss within 1.96 standard errors of zero is
`undecided`; the standard error is taken as at least one example's worth, since none changed of n
examples does not prove that none would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fretsaw_engine.data.packed import PADDING, TENSORS, Packed
from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fretsaw_engine.methods.score.layers import Parent
    from fretsaw_engine.methods.score.units import Unit

Z = 1.96
"""Standard errors that make a loss more than noise (two-sided 5 %)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Accuracy lost by windowing one layer."""

    accuracy_loss: float
    standard_error: float
    undecided: bool


def paired_loss(parent: Sequence[bool], replaced: Sequence[bool]) -> Loss:
    """Mean of parent - replaced over the same examples, with its standard error."""
    differences = [int(a) - int(b) for a, b in zip(parent, replaced, strict=True)]
    count = len(differences)
    if count == 0:
        return Loss(accuracy_loss=0.0, standard_error=0.0, undecided=True)
    mean = sum(differences) / count
    error = 0.0
    if count > 1:
        error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (count - 1) / count)
    undecided = count == 1 or abs(mean) <= Z * max(error, 1 / count)
    return Loss(accuracy_loss=mean, standard_error=error, undecided=undecided)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Which documents are answered right (bool); of each answer the first `most_tokens` tokens are
    judged. The parent's own are the scale."""

    parent: Parent
    most_tokens: int
    is_local: bool = False

    def compare(
        self, unit: Unit, own_BTD: torch.Tensor, others_CBTD: torch.Tensor
    ) -> list[torch.Tensor]:
        judged_BT = answer_positions(unit, self.most_tokens)
        return [self._right(unit, judged_BT, final_BTD) for final_BTD in (own_BTD, *others_CBTD)]

    def _right(self, unit: Unit, judged_BT: torch.Tensor, final_BTD: torch.Tensor) -> torch.Tensor:
        """For every answered document, in order of id: is all of its answer the most likely?"""
        expected = unit.input_ids_BT[judged_BT]
        owner = unit.document_ids_BT[judged_BT].long()
        before_BT = judged_BT.roll(-1, dims=1)
        best = self.parent.logits(final_BTD[before_BT]).argmax(-1)
        wrong = owner[best != expected].unique()
        return ~torch.isin(owner.unique(), wrong)


def answer_positions(rows: Unit, most_tokens: int) -> torch.Tensor:
    """Bool [B, T]: the first `most_tokens` tokens of every document that the assistant wrote."""
    answer_BT = (rows.loss_mask_BT == 1) & rows.counted_BT
    if bool((answer_BT & (rows.position_ids_BT == 0)).any()):
        raise StageFailure("BAD_INPUT", "a long-context example begins with its answer")
    so_far_BT = answer_BT.long().cumsum(1)
    # What was counted before a document began: the count at its first token, which is no answer.
    start_BT = torch.where(rows.position_ids_BT == 0, so_far_BT, 0).cummax(1).values
    return answer_BT & (so_far_BT - start_BT <= most_tokens)


def rows_with(packed: Packed, examples: int) -> Packed:
    """The first rows that hold `examples` documents (all rows, if they hold fewer)."""
    starts_R = ((packed.position_ids == 0) & (packed.document_ids != PADDING)).sum(1).cumsum(0)
    enough = int((starts_R < examples).sum()) + 1
    return Packed(**{name: getattr(packed, name)[:enough] for name in TENSORS})
