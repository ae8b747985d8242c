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
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.data.packed import PADDING, TENSORS, Packed
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.score.parent import ROWS_PER_BATCH, batches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fretsaw_engine.methods.score.parent import Batch

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


def score_windows(
    model: Any,
    packed: Packed,
    windows: Sequence[Sequence[int]],
    *,
    most_tokens: int,
    tick: Callable[[int], None] = lambda _: None,
) -> tuple[float, dict[tuple[int, int], Loss]]:
    """Accuracy of the parent, and the loss of every (layer, window) of `windows[layer]`.

    Of each answer the first `most_tokens` tokens are judged.
    """
    judged_RT = answer_positions(packed, most_tokens)
    right: dict[tuple[int, int] | None, list[bool]] = {}
    done = 0
    with torch.no_grad():
        for batch in batches(model, packed):
            rows = slice(done, done + ROWS_PER_BATCH)
            judge = Judge.of(batch, judged_RT[rows])
            _judge_batch(batch, windows, judge, right)
            done += batch.input_ids_BT.shape[0]
            tick(done)
    parent = right.pop(None, [])
    if not parent:
        raise StageFailure("BAD_INPUT", "the long-context data has no answers")
    losses = {key: paired_loss(parent, replaced) for key, replaced in right.items() if key}
    return sum(parent) / len(parent), losses


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Which positions of a batch are judged, what should come next there, and whose it is."""

    batch: Batch
    judged_BT: torch.Tensor
    expected: torch.Tensor
    owner: torch.Tensor
    documents: torch.Tensor

    @staticmethod
    def of(batch: Batch, judged_BT: torch.Tensor) -> Judge:
        """`judged_BT` marks answer tokens; each is predicted one position earlier."""
        expected = batch.input_ids_BT[judged_BT]
        owner = batch.document_ids_BT[judged_BT].long()
        return Judge(
            batch=batch,
            judged_BT=judged_BT,
            expected=expected,
            owner=owner,
            documents=owner.unique(),
        )

    def right(self, final_BTD: torch.Tensor) -> list[bool]:
        """For every answered document, in order of id: is all of its answer the most likely?"""
        before_BT = self.judged_BT.roll(-1, dims=1)
        best = self.batch.logits(final_BTD[before_BT]).argmax(-1)
        wrong = self.owner[best != self.expected].unique()
        return (~torch.isin(self.documents, wrong)).tolist()


def _judge_batch(
    batch: Batch,
    windows: Sequence[Sequence[int]],
    judge: Judge,
    right: dict[tuple[int, int] | None, list[bool]],
) -> None:
    inputs = [batch.embed()]
    for layer in range(len(batch.windows)):
        inputs.append(batch.mix(layer, batch.attend(layer, inputs[-1])))
    right.setdefault(None, []).extend(judge.right(batch.model.model.norm(inputs[-1])))
    for layer, narrower in enumerate(windows):
        for window in narrower:
            replaced = batch.mix(layer, batch.attend(layer, inputs[layer], window))
            final_BTD = batch.suffix(layer + 1, replaced)
            right.setdefault((layer, window), []).extend(judge.right(final_BTD))


def answer_positions(packed: Packed, most_tokens: int) -> torch.Tensor:
    """Bool [R, T]: the first `most_tokens` tokens of every document that the assistant wrote."""
    answer_RT = (packed.loss_mask == 1) & (packed.document_ids != PADDING)
    if bool((answer_RT & (packed.position_ids == 0)).any()):
        raise StageFailure("BAD_INPUT", "a long-context example begins with its answer")
    so_far_RT = answer_RT.long().cumsum(1)
    # What was counted before a document began: the count at its first token, which is no answer.
    start_RT = torch.where(packed.position_ids == 0, so_far_RT, 0).cummax(1).values
    return answer_RT & (so_far_RT - start_RT <= most_tokens)


def rows_with(packed: Packed, examples: int) -> Packed:
    """The first rows that hold `examples` documents (all rows, if they hold fewer)."""
    starts_R = ((packed.position_ids == 0) & (packed.document_ids != PADDING)).sum(1).cumsum(0)
    enough = int((starts_R < examples).sum()) + 1
    return Packed(**{name: getattr(packed, name)[:enough] for name in TENSORS})
