"""Teacher and student as a distillation needs them: last hidden states, logits only in the loss.

Shape suffixes: B rows, T tokens of a row, S supervised tokens of a batch, D student width, E
teacher width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fretsaw_engine.methods.distill.loss import DistillationLoss, distillation_loss
from fretsaw_engine.methods.distill.rows import IGNORED
from fretsaw_engine.training import distributed
from fretsaw_engine.training.masks import packed_masks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Batch = Mapping[str, torch.Tensor]

GROUP = 8
"""Rows that the cached teacher reads at once, always the same ones together: how a matrix product
rounds depends on its other rows, and a resumed run must find the same bits."""

CACHE_BYTES = 2**30
"""At most this much is kept of the teacher."""


def hidden_states(model: Any, batch: Batch) -> torch.Tensor:
    """Last hidden states [B, T, .] of a causal language model over packed rows."""
    return model.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=packed_masks(model.config, batch["document_ids"]),
        use_cache=False,
    ).last_hidden_state


class Student(nn.Module):
    """The model under training, with its loss inside: under `fully_shard` the head is whole only
    in here.
    """

    accepts_loss_kwargs = True  # the Trainer then counts the labels of a whole accumulated batch

    def __init__(self, model: Any, *, temperature: float, ce_weight: float, chunk: int) -> None:
        super().__init__()
        self.model = model
        self.is_distributed_loading_by_transformers = distributed.world_size() > 1  # see shard
        self._loss = {"temperature": temperature, "ce_weight": ce_weight, "chunk": chunk}

    def forward(
        self, batch: Batch, teacher_SE: torch.Tensor, head: torch.Tensor, count: Any
    ) -> DistillationLoss:
        """Loss of a batch. `count`: supervised tokens to divide by; `head`: the teacher's."""
        supervised_BT = batch["labels"] != IGNORED
        student_SD = hidden_states(self.model, batch)[supervised_BT]
        return distillation_loss(
            student_SD, self.model.lm_head.weight, teacher_SE, head, batch["labels"][supervised_BT],
            count=count, **self._loss,
        )  # fmt: skip


class Teacher:
    """Hidden states of the supervised tokens, in eval mode and without gradients."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.head = model.lm_head.weight

    @torch.no_grad()
    def states(self, batch: Batch) -> torch.Tensor:
        """[S, E], supervised tokens of the batch in order."""
        return hidden_states(self.model, batch)[batch["labels"] != IGNORED]


class CachedTeacher(Teacher):
    """A teacher that reads every row once, for data that is seen several times."""

    def __init__(self, model: Any, rows: Callable[[list[int]], Batch], total: int) -> None:
        super().__init__(model)
        self._rows = rows
        self._total = total
        self._known: dict[int, torch.Tensor] = {}

    @torch.no_grad()
    def states(self, batch: Batch) -> torch.Tensor:
        indices = [int(index) for index in batch["row"]]
        for index in indices:
            if index not in self._known:
                self._read(index // GROUP)
        return torch.cat([self._known[index] for index in indices])

    def _read(self, group: int) -> None:
        indices = list(range(group * GROUP, min((group + 1) * GROUP, self._total)))
        batch = {name: value.to(self.head.device) for name, value in self._rows(indices).items()}
        sizes = (batch["labels"] != IGNORED).sum(1).tolist()
        parts = super().states(batch).split(sizes)
        self._known.update(zip(indices, parts, strict=True))


def worth_caching(supervised: int, width: int, passes: float, ranks: int) -> bool:
    """Data seen twice or more, that fits, on one process (a sharded teacher must be called by all
    ranks alike).
    """
    return ranks == 1 and passes >= 2 and supervised * width * 4 <= CACHE_BYTES
