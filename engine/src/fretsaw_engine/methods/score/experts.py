"""What every expert contributes, measured in one pass over calibration tokens.

Two measures, both summed in float64:

- REAP (arXiv 2510.13999, eq. 4): the mean, over the tokens routed to an expert, of gate weight
  times the norm of the expert's output.
- Drop-out error: how far the layer's output moves when this expert alone is missing, squared, per
  token of the data. Routing is done again as the model would: the next best expert moves up, and
  the softmax runs over the new top k. So k + 1 expert outputs a token are enough for every expert's
  error.

Shape suffixes: N tokens, D hidden, E experts, K experts a token, M mixtures (the layer's own, then
one without each of a token's k experts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fretsaw_engine.methods.score.mixture import Mixtures, joined, mix, route, split
from fretsaw_engine.methods.score.parent import check_finite
from fretsaw_engine.methods.score.units import groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fretsaw_engine.methods.score.kept import Kept
    from fretsaw_engine.methods.score.layers import Parent
    from fretsaw_engine.methods.score.units import Shard, Unit

METRICS = ("reap", "drop-out-error")


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


def tally_shard(parent: Parent, shard: Shard, layer: int, kept: Kept, budget_bytes: int) -> Tally:
    """One layer's tally over a shard. `kept` holds the layer's input of every unit, by
    `unit_name`, and then its output."""
    tally = Tally.empty(parent.expert_counts[layer])
    for group in groups(shard.units, working_bytes(parent, shard, parent.top_k + 1), budget_bytes):
        for unit_tally in _tally_group(parent, group, layer, kept):
            tally += unit_tally
    return tally


def _tally_group(parent: Parent, group: Sequence[Unit], layer: int, kept: Kept) -> list[Tally]:
    attended, parts, gains = [], [], []
    for unit in group:
        attended_BTD = parent.attend(layer, unit, kept.get(unit_name(unit)).to(parent.device))
        x_ND = parent.expert_input(layer, attended_BTD)
        check_finite(x_ND, _place(layer, unit))
        unit_parts = split(unit, x_ND, lambda x: dropped_weights(parent, layer, x))
        for part in unit_parts:
            part.seen = _norms(part, gain_E := torch.zeros(parent.expert_counts[layer]).double())
            gains.append(gain_E)
        attended.append(attended_BTD)
        parts.append(unit_parts)
    mix(parent, layer, [part for unit_parts in parts for part in unit_parts])
    tallies = []
    gain = iter(gains)
    for unit, attended_BTD, unit_parts in zip(group, attended, parts, strict=True):
        output_BTD = attended_BTD + joined(unit_parts)[0].view_as(attended_BTD)
        kept.put(unit_name(unit), output_BTD)
        tallies.append(_total(_tally_part(part, next(gain)) for part in unit_parts))
    return tallies


def dropped_weights(parent: Parent, layer: int, x_ND: torch.Tensor) -> torch.Tensor:
    """Weights [1 + k, N, E]: the router's, and those without a token's first, second ... expert."""
    logits_NE = parent.router_logits(layer, x_ND)
    top_k = min(parent.top_k, logits_NE.shape[1])
    best_NK = torch.topk(logits_NE, top_k, dim=-1).indices
    weights = [route(logits_NE, top_k)]
    for slot in range(top_k):
        if logits_NE.shape[1] == 1:
            weights.append(torch.zeros_like(logits_NE))
            continue
        others_NE = logits_NE.scatter(1, best_NK[:, slot : slot + 1], float("-inf"))
        weights.append(route(others_NE, min(top_k, logits_NE.shape[1] - 1)))
    return torch.stack(weights)


def _norms(
    part: Mixtures, gain_E: torch.Tensor
) -> Callable[[int, torch.Tensor, torch.Tensor], None]:
    """Adds gate weight times output norm to an expert's gain."""

    def see(expert: int, tokens: torch.Tensor, output: torch.Tensor) -> None:
        gate_N = part.weights_MNE[0, tokens, expert].double()
        gain_E[expert] = (gate_N * output.double().norm(dim=-1)).sum().cpu()

    return see


def _tally_part(part: Mixtures, gain_E: torch.Tensor) -> Tally:
    """Which expert slot m left out is where its weights lack one that the first mixture has."""
    experts = part.weights_MNE.shape[2]
    used_NE = part.weights_MNE[0] != 0
    dropped_E = torch.zeros(experts, dtype=torch.float64)
    own_ND = part.outputs_MND[0]
    for mixture in range(1, part.weights_MNE.shape[0]):
        error_N = (part.outputs_MND[mixture] - own_ND).double().square().sum(-1)
        lost_NE = used_NE & (part.weights_MNE[mixture] == 0)
        dropped_E += (lost_NE.double().T @ error_N).cpu()
    counted = int(part.unit.counted_BT.flatten()[part.first :][: part.x_ND.shape[0]].sum())
    return Tally(
        reap_E=gain_E,
        dropped_E=dropped_E,
        routed_E=used_NE.sum(0).cpu(),
        tokens=counted,
    )


def working_bytes(parent: Parent, shard: Shard, mixtures: int) -> int:
    """Bytes that one unit takes while `mixtures` outputs of it are made."""
    tokens = shard.units[0].input_ids_BT.numel()
    experts = max(parent.expert_counts)
    return 4 * tokens * (mixtures * (parent.hidden_size + experts) + 4 * parent.hidden_size)


def keep_embedded(parent: Parent, shard: Shard, kept: Kept) -> None:
    """What layer 0 reads, for every unit."""
    for unit in shard.units:
        kept.put(unit_name(unit), parent.embed(unit))


def unit_name(unit: Unit) -> str:
    """Under which a unit's hidden state is kept."""
    return f"hidden-{unit.index}"


def rank(scores: list[float]) -> list[int]:
    """Expert ids, best first; equal scores by id."""
    return sorted(range(len(scores)), key=lambda expert: (-scores[expert], expert))


def rounded(value: float) -> float:
    """Seven significant digits: what float32 activations support, and no more."""
    return float(f"{value:.6e}")


def _place(layer: int, unit: Unit) -> Callable[[int], str]:
    return lambda token: f"the experts' input of layer {layer}, first at {unit.place(token)}"


def _total(tallies: Iterable[Tally]) -> Tally:
    first, *rest = list(tallies)
    for tally in rest:
        first = first + tally
    return first
