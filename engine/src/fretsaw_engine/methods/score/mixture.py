"""Several mixtures of experts of one layer on the same tokens, each expert run once.

A mixture is a weight for every (token, expert): the parent's own routing, routing without one
expert, routing among a kept set. They need the same experts for most tokens, and kept sets are
nested, so all of them together cost little more than one. Experts come one at a time: no more than
one has to be in memory, and sums over experts are made in their order.

Shape suffixes: N tokens, D hidden, E experts, K experts a token, M mixtures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fretsaw_engine.methods.score.layers import Parent
    from fretsaw_engine.methods.score.units import Unit

TOKENS_AT_ONCE = 4096
"""Tokens of a unit whose mixtures are made together."""


@dataclass(kw_only=True)
class Mixtures:
    """Some tokens of a unit, and every mixture's output for them."""

    unit: Unit
    first: int
    """Place of the first token in the flat unit."""
    x_ND: torch.Tensor
    weights_MNE: torch.Tensor
    seen: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None
    """Is told an expert, the tokens that it ran on, and its output for them."""
    outputs_MND: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        mixtures = self.weights_MNE.shape[0]
        self.outputs_MND = self.x_ND.new_zeros(mixtures, *self.x_ND.shape)


def route(logits_NE: torch.Tensor, top_k: int, kept: Sequence[int] | None = None) -> torch.Tensor:
    """Weights [N, E] as the router gives them if only `kept` experts existed: softmax over the top
    k, zero elsewhere. All zero if `kept` is empty."""
    choices = logits_NE.shape[1] if kept is None else len(kept)
    weights_NE = torch.zeros_like(logits_NE)
    if choices == 0:
        return weights_NE
    if kept is None:
        best_NK, ids_NK = torch.topk(logits_NE, min(top_k, choices), dim=-1)
    else:
        kept_C = torch.tensor(sorted(kept), device=logits_NE.device)
        best_NK, at_NK = torch.topk(logits_NE[:, kept_C], min(top_k, choices), dim=-1)
        ids_NK = kept_C[at_NK]
    # A weight that underflows is still a routed expert's: never quite zero.
    gates_NK = torch.softmax(best_NK, dim=-1).clamp(min=torch.finfo(best_NK.dtype).tiny)
    return weights_NE.scatter_(1, ids_NK, gates_NK)


def mix(parent: Parent, layer: int, work: Sequence[Mixtures]) -> None:
    """Fill every `outputs_MND`. BAD_INPUT names layer, expert and first token where an expert's
    output is not finite."""
    needed = [(part.weights_MNE != 0).any(0) for part in work]
    for number in range(parent.expert_counts[layer]):
        expert = None
        for part, needed_NE in zip(work, needed, strict=True):
            tokens = needed_NE[:, number].nonzero().flatten()
            if len(tokens) == 0:
                continue
            expert = expert or parent.expert(layer, number)
            output = expert(part.x_ND[tokens])
            _check(part, layer, number, (tokens, output))
            if part.seen is not None:
                part.seen(number, tokens, output)
            _add(part, number, tokens, output)


def _add(part: Mixtures, number: int, tokens: torch.Tensor, output: torch.Tensor) -> None:
    weights_MN = part.weights_MNE[:, tokens, number]
    for mixture, counted in enumerate((weights_MN != 0).sum(1).tolist()):
        weight_N = weights_MN[mixture]
        if counted == len(tokens):
            part.outputs_MND[mixture].index_add_(0, tokens, weight_N[:, None] * output)
        elif counted:
            some = weight_N.nonzero().flatten()
            part.outputs_MND[mixture].index_add_(
                0, tokens[some], weight_N[some, None] * output[some]
            )


def _check(
    part: Mixtures, layer: int, number: int, found: tuple[torch.Tensor, torch.Tensor]
) -> None:
    tokens, output = found
    if bool(output.isfinite().all()):
        return
    first = int(tokens[~output.isfinite().all(1)][0])
    raise StageFailure(
        "BAD_INPUT",
        f"not finite: the output of layer {layer}, expert {number}, "
        f"first at {part.unit.place(part.first + first)}",
        {"layer": layer, "expert": number},
    )


def advance(
    parent: Parent, layer: int, work: Sequence[tuple[Unit, torch.Tensor]]
) -> list[torch.Tensor]:
    """A layer as the model does it, on hidden states [B, T, D] of several units."""
    attended = [parent.attend(layer, unit, hidden_BTD) for unit, hidden_BTD in work]
    return add_experts(parent, layer, [unit for unit, _ in work], attended)


def add_experts(
    parent: Parent, layer: int, units: Sequence[Unit], attended: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """A layer's second half, on what attention gave [B, T, D] for several units."""
    parts = [
        split(
            unit,
            parent.expert_input(layer, attended_BTD),
            lambda x_ND: route(parent.router_logits(layer, x_ND), parent.top_k)[None],
        )
        for unit, attended_BTD in zip(units, attended, strict=True)
    ]
    mix(parent, layer, [part for unit_parts in parts for part in unit_parts])
    return [
        attended_BTD + joined(unit_parts)[0].view_as(attended_BTD)
        for attended_BTD, unit_parts in zip(attended, parts, strict=True)
    ]


def split(
    unit: Unit, x_ND: torch.Tensor, weigh: Callable[[torch.Tensor], torch.Tensor]
) -> list[Mixtures]:
    """A unit's tokens in parts of `TOKENS_AT_ONCE`; `weigh` gives a part's weights [M, N, E].

    Nothing is mixed for padding, which nothing ever sees.
    """
    padding_N = ~unit.counted_BT.flatten()
    found = []
    for first in range(0, x_ND.shape[0], TOKENS_AT_ONCE):
        last = first + TOKENS_AT_ONCE
        weights_MNE = weigh(x_ND[first:last])
        weights_MNE[:, padding_N[first:last]] = 0
        found.append(
            Mixtures(unit=unit, first=first, x_ND=x_ND[first:last], weights_MNE=weights_MNE)
        )
    return found


def joined(parts: Sequence[Mixtures]) -> torch.Tensor:
    """Outputs [M, N, D] of a unit's parts."""
    return torch.cat([part.outputs_MND for part in parts], dim=1)
