"""What every expert contributes, measured in one pass over calibration tokens.

Two measures, both summed in float64:

- REAP (arXiv 2510.13999, eq. 4): the mean, over the tokens routed to an expert, of gate weight
  times the norm of the expert's output.
- Drop-out error: how far the layer's output moves when this expert alone is missing, squared, per
  token of the data. Routing is done again as the model would: the next best expert moves up, and
  the softmax runs over the new top k. So k + 1 expert outputs a token are enough for every expert's
  error.

Shape suffixes: N tokens, D hidden, E experts, K experts a token, R = K + 1 (or E, if that is less).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.methods.score.parent import batches, check_finite

if TYPE_CHECKING:
    from collections.abc import Callable

    from fretsaw_engine.data.packed import Packed

TOKENS_AT_ONCE = 4096
"""Tokens whose expert outputs [N, R, D] are held at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Sums over tokens for the experts of one layer; tallies of two halves of the data add up."""

    reap_E: torch.Tensor
    dropped_E: torch.Tensor
    routed_E: torch.Tensor
    tokens: int

    @staticmethod
    def empty(experts: int) -> Tally:
        zeros = torch.zeros(experts, dtype=torch.float64)
        return Tally(
            reap_E=zeros,
            dropped_E=zeros.clone(),
            routed_E=torch.zeros(experts, dtype=torch.int64),
            tokens=0,
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            reap_E=self.reap_E + other.reap_E,
            dropped_E=self.dropped_E + other.dropped_E,
            routed_E=self.routed_E + other.routed_E,
            tokens=self.tokens + other.tokens,
        )

    def scores(self, metric: str) -> list[float]:
        """Every expert's score; an expert that no token was routed to has 0."""
        if metric == "reap":
            return (self.reap_E / self.routed_E.clamp(min=1)).tolist()
        if metric == "drop-out-error":
            return (self.dropped_E / max(self.tokens, 1)).tolist()
        raise ValueError(f"unknown metric {metric}")


def tally_experts(
    model: Any, packed: Packed, tick: Callable[[int], None] = lambda _: None
) -> list[Tally]:
    """One pass: a tally for every layer. `tick` is told the rows done."""
    layers = model.model.layers
    tallies = [Tally.empty(layer.mlp.router.weight.shape[0]) for layer in layers]
    done = 0
    with torch.no_grad():
        for batch in batches(model, packed):
            hidden_BTD = batch.embed()
            for number, layer in enumerate(layers):
                attended_BTD = batch.attend(number, hidden_BTD)
                x_ND = batch.expert_input(number, attended_BTD)
                check_finite(x_ND, _place(number, done, batch.input_ids_BT.shape[1]))
                output_ND, tally = tally_layer(layer.mlp, x_ND, batch.counted_N)
                tallies[number] += tally
                hidden_BTD = attended_BTD + output_ND.view_as(attended_BTD)
            done += batch.input_ids_BT.shape[0]
            tick(done)
    return tallies


def tally_layer(
    mlp: Any, x_ND: torch.Tensor, counted_N: torch.Tensor
) -> tuple[torch.Tensor, Tally]:
    """The layer's output for all tokens, and the tally over those that count."""
    parts = [
        _tally_part(mlp, x, counted)
        for x, counted in zip(
            x_ND.split(TOKENS_AT_ONCE), counted_N.split(TOKENS_AT_ONCE), strict=True
        )
    ]
    return torch.cat([output for output, _ in parts]), _total(tally for _, tally in parts)


def _tally_part(
    mlp: Any, x_ND: torch.Tensor, counted_N: torch.Tensor
) -> tuple[torch.Tensor, Tally]:
    experts, top_k = mlp.router.weight.shape[0], mlp.router.top_k
    logits_NE = torch.nn.functional.linear(x_ND, mlp.router.weight, mlp.router.bias)
    near = min(top_k + 1, experts)
    logits_NR, ids_NR = torch.topk(logits_NE, near, dim=-1)
    tokens_P = torch.arange(x_ND.shape[0]).repeat_interleave(near)
    outputs_NRD = expert_outputs(mlp.experts, x_ND, tokens_P, ids_NR.flatten()).view(
        x_ND.shape[0], near, -1
    )
    weight_NK = torch.softmax(logits_NR[:, :top_k], dim=-1)
    output_ND = (weight_NK.unsqueeze(-1) * outputs_NRD[:, :top_k]).sum(1)

    reap_NK = weight_NK.double() * outputs_NRD[:, :top_k].double().norm(dim=-1)
    dropped_NK = torch.stack(
        [
            (_without(logits_NR, outputs_NRD, slot, top_k) - output_ND).double().square().sum(-1)
            for slot in range(top_k)
        ],
        dim=1,
    )
    ids_NK = ids_NR[:, :top_k][counted_N].flatten()
    empty = Tally.empty(experts)
    return output_ND, Tally(
        reap_E=empty.reap_E.index_add(0, ids_NK, reap_NK[counted_N].flatten()),
        dropped_E=empty.dropped_E.index_add(0, ids_NK, dropped_NK[counted_N].flatten()),
        routed_E=torch.bincount(ids_NK, minlength=experts),
        tokens=int(counted_N.sum()),
    )


def _without(
    logits_NR: torch.Tensor, outputs_NRD: torch.Tensor, slot: int, top_k: int
) -> torch.Tensor:
    """The layer's output [N, D] if the expert in this slot did not exist. Zero if it was the only
    one."""
    rest = [other for other in range(logits_NR.shape[1]) if other != slot][:top_k]
    if not rest:
        return torch.zeros_like(outputs_NRD[:, 0])
    weight_NK = torch.softmax(logits_NR[:, rest], dim=-1)
    return (weight_NK.unsqueeze(-1) * outputs_NRD[:, rest]).sum(1)


def expert_outputs(
    experts: Any, x_ND: torch.Tensor, tokens_P: torch.Tensor, experts_P: torch.Tensor
) -> torch.Tensor:
    """Output [P, D] of expert `experts_P[p]` on token `tokens_P[p]`, one product an expert."""
    order_P = torch.argsort(experts_P, stable=True)
    counts = torch.bincount(experts_P, minlength=experts.num_experts).tolist()
    pieces = []
    for expert, part in enumerate(order_P.split(counts)):
        if len(part) == 0:
            continue
        gate_up = x_ND[tokens_P[part]] @ experts.gate_up_proj[expert]
        inner = experts._apply_gate(gate_up + experts.gate_up_proj_bias[expert])
        pieces.append(inner @ experts.down_proj[expert] + experts.down_proj_bias[expert])
    sorted_PD = torch.cat(pieces) if pieces else x_ND[:0]
    return torch.empty_like(sorted_PD).index_copy(0, order_P, sorted_PD)


def rank(scores: list[float]) -> list[int]:
    """Expert ids, best first; equal scores by id."""
    return sorted(range(len(scores)), key=lambda expert: (-scores[expert], expert))


def rounded(value: float) -> float:
    """Seven significant digits: what float32 activations support, and no more.

    Sums that differ in their last bits (another batch split) then give the same ranking file.
    """
    return float(f"{value:.6e}")


def _place(layer: int, row: int, length: int) -> Callable[[int], str]:
    return lambda token: (
        f"the experts' input of layer {layer}, row {row + token // length}, token {token % length}"
    )


def _total(tallies: Any) -> Tally:
    first, *rest = list(tallies)
    for tally in rest:
        first = first + tally
    return first
