"""Replace one block: what each choice for one layer does to the parent, all other layers unchanged.

The parent runs once. An expert choice is evaluated on the parent's own input of the layer's
experts, a window choice on the parent's own input of the layer. Three measures of the damage:

- activation-mse: sum |y' - y|^2 / sum |y|^2 over the layer's output (residual stream after the
  layer).
- hidden-mse: the same over the final hidden state (after the last norm). Runs the layers behind.
- kl: mean over tokens of KL(parent || replaced) of the next-token distributions. Runs them too.

Choices of one layer share expert products: kept sets are nested, so most tokens need the same
experts for several choices, and each (token, expert) pair is computed once.

Shape suffixes: B rows, T tokens, N = B * T, D hidden, E experts, K experts a token, C choices, P
pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.methods.score.experts import TOKENS_AT_ONCE, expert_outputs
from fretsaw_engine.methods.score.parent import batches
from fretsaw_engine.moe.puzzle import layer_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fretsaw_engine.data.packed import Packed
    from fretsaw_engine.methods.score.parent import Batch

METRICS = ("activation-mse", "hidden-mse", "kl")

Choice = tuple[str, int]
"""("experts", count) or ("window", tokens)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerChoices:
    """What is tried on one layer. `order`: its experts, best first; the parent's own choices are
    not listed, their score is 0."""

    order: list[int]
    expert_counts: list[int]
    windows: list[int]

    @property
    def all(self) -> list[Choice]:
        return [("experts", c) for c in self.expert_counts] + [("window", w) for w in self.windows]


@dataclass(kw_only=True, slots=True)
class ErrorSums:
    """Error of every choice of every layer, and what it is divided by; float64 sums."""

    errors: dict[tuple[int, Choice], float] = field(default_factory=dict)
    scale: dict[int, float] = field(default_factory=dict)

    def add(self, layer: int, choice: Choice, error: torch.Tensor) -> None:
        key = (layer, choice)
        self.errors[key] = self.errors.get(key, 0.0) + float(error.double().sum())

    def scores(self) -> dict[tuple[int, Choice], float]:
        return {
            (layer, choice): error / self.scale[layer]
            for (layer, choice), error in self.errors.items()
        }


def layer_choices(
    model: Any,
    orders: Sequence[list[int]],
    expert_counts: Sequence[int],
    windows: Sequence[int],
) -> list[LayerChoices]:
    """Fewer experts than the layer has, windows narrower than its own."""
    choices = []
    for layer, own in enumerate(layer_windows(model.config)):
        experts = model.model.layers[layer].mlp.router.weight.shape[0]
        narrower = [w for w in windows if own is None or w < own]
        choices.append(
            LayerChoices(
                order=list(orders[layer]),
                expert_counts=sorted({c for c in expert_counts if c < experts}),
                windows=sorted(set(narrower)),
            )
        )
    return choices


def score_choices(
    model: Any,
    packed: Packed,
    choices: Sequence[LayerChoices],
    metric: str,
    tick: Callable[[int], None] = lambda _: None,
) -> dict[tuple[int, Choice], float]:
    """The score of every choice of every layer, parent run once. `tick` is told the rows done."""
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric}")
    sums = ErrorSums()
    done = 0
    with torch.no_grad():
        for batch in batches(model, packed):
            _score_batch(batch, choices, metric, sums)
            done += batch.input_ids_BT.shape[0]
            tick(done)
    return sums.scores()


def _score_batch(
    batch: Batch, choices: Sequence[LayerChoices], metric: str, sums: ErrorSums
) -> None:
    hidden_BTD = batch.embed()
    pending: list[tuple[int, dict[Choice, torch.Tensor]]] = []
    for layer, wanted in enumerate(choices):
        output_BTD, replaced = replace_layer(batch, layer, hidden_BTD, wanted)
        if metric == "activation-mse":
            _add_relative(batch, sums, layer, (output_BTD, replaced))
        else:
            pending.append((layer, replaced))
        hidden_BTD = output_BTD
    if not pending:
        return
    final_BTD = batch.model.model.norm(hidden_BTD)
    log_parent = None
    if metric == "kl":
        log_parent = batch.logits(final_BTD.flatten(0, 1)[batch.counted_N]).log_softmax(-1)
    for layer, replaced in pending:
        by_choice = {c: batch.suffix(layer + 1, output) for c, output in replaced.items()}
        if log_parent is None:
            _add_relative(batch, sums, layer, (final_BTD, by_choice))
        else:
            _add_kl(batch, sums, layer, (log_parent, by_choice))


def replace_layer(
    batch: Batch, layer: int, hidden_BTD: torch.Tensor, wanted: LayerChoices
) -> tuple[torch.Tensor, dict[Choice, torch.Tensor]]:
    """The layer's own output and its output under every choice, on one input."""
    mlp = batch.model.model.layers[layer].mlp
    everything = mlp.router.weight.shape[0]
    attended_BTD = batch.attend(layer, hidden_BTD)
    mixed = subset_outputs(
        mlp,
        batch.expert_input(layer, attended_BTD),
        wanted.order,
        [*wanted.expert_counts, everything],
    )
    outputs = {c: attended_BTD + m.view_as(attended_BTD) for c, m in mixed.items()}
    replaced: dict[Choice, torch.Tensor] = {
        ("experts", count): outputs[count] for count in wanted.expert_counts
    }
    for window in wanted.windows:
        replaced["window", window] = batch.mix(layer, batch.attend(layer, hidden_BTD, window))
    return outputs[everything], replaced


def subset_outputs(
    mlp: Any, x_ND: torch.Tensor, order: Sequence[int], counts: Sequence[int]
) -> dict[int, torch.Tensor]:
    """Output [N, D] of the experts if only the first `count` of `order` existed, for each count."""
    parts = [_subset_part(mlp, x, order, counts) for x in x_ND.split(TOKENS_AT_ONCE)]
    return {count: torch.cat([part[count] for part in parts]) for count in counts}


def _subset_part(
    mlp: Any, x_ND: torch.Tensor, order: Sequence[int], counts: Sequence[int]
) -> dict[int, torch.Tensor]:
    logits_NE = torch.nn.functional.linear(x_ND, mlp.router.weight, mlp.router.bias)
    routed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    needed_NE = torch.zeros_like(logits_NE, dtype=torch.bool)
    for count in counts:
        kept = torch.tensor(sorted(order[:count]))
        best_NK, at_NK = torch.topk(logits_NE[:, kept], min(mlp.router.top_k, count), dim=-1)
        ids_NK = kept[at_NK]
        routed[count] = (torch.softmax(best_NK, dim=-1), ids_NK)
        needed_NE.scatter_(1, ids_NK, True)
    experts_P, tokens_P = needed_NE.T.nonzero(as_tuple=True)
    outputs_PD = expert_outputs(mlp.experts, x_ND, tokens_P, experts_P)
    slot_NE = torch.zeros_like(logits_NE, dtype=torch.int64)
    slot_NE[tokens_P, experts_P] = torch.arange(len(tokens_P))
    return {
        count: (weight_NK.unsqueeze(-1) * outputs_PD[slot_NE.gather(1, ids_NK)]).sum(1)
        for count, (weight_NK, ids_NK) in routed.items()
    }


def _add_relative(
    batch: Batch,
    sums: ErrorSums,
    layer: int,
    outputs: tuple[torch.Tensor, dict[Choice, torch.Tensor]],
) -> None:
    own_BTD, replaced = outputs
    own_ND = own_BTD.flatten(0, 1)[batch.counted_N]
    energy = float(own_ND.double().square().sum())
    sums.scale[layer] = sums.scale.get(layer, 0.0) + energy
    for choice, other_BTD in replaced.items():
        difference_ND = other_BTD.flatten(0, 1)[batch.counted_N] - own_ND
        sums.add(layer, choice, difference_ND.double().square().sum())


def _add_kl(
    batch: Batch,
    sums: ErrorSums,
    layer: int,
    outputs: tuple[torch.Tensor, dict[Choice, torch.Tensor]],
) -> None:
    log_parent, replaced = outputs
    sums.scale[layer] = sums.scale.get(layer, 0.0) + log_parent.shape[0]
    for choice, final_BTD in replaced.items():
        log_other = batch.logits(final_BTD.flatten(0, 1)[batch.counted_N]).log_softmax(-1)
        sums.add(layer, choice, (log_parent.exp() * (log_parent - log_other)).sum(-1))
