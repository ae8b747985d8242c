"""Context parallelism: one row over several ranks, each with its part of the tokens.

Everything but attention works on tokens one by one, so a rank needs the others' tokens only there:
it gathers keys and values, which grouped-query attention makes small, and keeps its own queries
(Llama 3, arXiv 2407.21783, section 3.3.2). The gradient of a gather is a reduce-scatter, by torch's
own functional collectives.

A causal row costs more towards its end. So it is cut into 2n pieces, and rank i takes the i-th from
the front and the i-th from the back (same source).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from fretsaw_engine.job import StageFailure


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """This rank's place among those that share a row."""

    ranks: int
    index: int
    group: Any

    def gather(self, x_BHTX: torch.Tensor) -> torch.Tensor:
        """Keys or values of the whole row, in the order of `order`."""
        from torch.distributed._functional_collectives import all_gather_tensor_autograd

        parts = all_gather_tensor_autograd(x_BHTX.contiguous(), 2, self.group)
        return parts

    def order(self, length: int) -> torch.Tensor:
        """Positions of a row as the ranks hold them, one rank after the other."""
        return torch.cat([pieces(length, self.ranks, index) for index in range(self.ranks)])

    def mine(self, length: int) -> torch.Tensor:
        """Positions that this rank holds."""
        return pieces(length, self.ranks, self.index)


def pieces(length: int, ranks: int, index: int) -> torch.Tensor:
    """Positions of rank `index`: its piece from the front, then its piece from the back."""
    if length % (2 * ranks):
        raise StageFailure(
            "BAD_INPUT", f"a row of {length} tokens is not 2 x {ranks} pieces of one length"
        )
    size = length // (2 * ranks)
    front, back = index * size, (2 * ranks - 1 - index) * size
    return torch.cat((torch.arange(front, front + size), torch.arange(back, back + size)))
