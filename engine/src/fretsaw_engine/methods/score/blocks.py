"""Replace one block: what each choice for one layer does to the parent, all other layers unchanged.

The parent runs once and the input of each layer is kept. An expert choice is evaluated on the
parent's own input of the layer's experts, a window choice on the parent's own input of the layer;
only what lies behind the layer runs again, and only where the measure looks there:

- activation-mse: sum |y' - y|^2 / sum |y|^2 over the layer's output (residual stream after the
  layer). Block-local.
- hidden-mse: the same over the final hidden state (after the last norm).
- kl: mean over tokens of KL(parent || replaced) of the next-token distributions.

All choices of a layer go through the layers behind it side by side, as more rows of one batch.
Figures are kept for every row of the data, so a score has a standard error: that of a ratio of two
sums over rows (Cochran, Sampling Techniques, 3rd ed., section 6.3).

Shape suffixes: B rows, T tokens, N = B * T, D hidden, E experts, C choices, R rows of a shard, V
vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from fretsaw_engine.methods.score.experts import unit_name, working_bytes
from fretsaw_engine.methods.score.mixture import advance, joined, mix, route, split
from fretsaw_engine.methods.score.units import Unit, groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fretsaw_engine.methods.score.kept import Kept
    from fretsaw_engine.methods.score.layers import Parent
    from fretsaw_engine.methods.score.units import Shard

METRICS = ("activation-mse", "hidden-mse", "kl")

TOKENS_PER_HEAD = 512
"""Tokens whose distributions over the vocabulary are in memory at once."""

Choice = tuple[str, int]
"""("experts", count) or ("window", tokens)."""

Figures = dict[str, torch.Tensor]
"""What a measure found in a shard, float64 or bool: `scale`, and `<kind>-<value>` of a choice."""


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


class Measure(Protocol):
    """Compares the parent's state of some rows with those of the choices."""

    @property
    def is_local(self) -> bool:
        """Looks at the layer's own output; else at the final hidden state."""
        ...

    def compare(
        self, unit: Unit, own_BTD: torch.Tensor, others_CBTD: torch.Tensor
    ) -> list[torch.Tensor]:
        """The parent's own figure, then one of every choice; equally long for a unit."""
        ...


def layer_choices(
    parent: Parent,
    orders: Sequence[list[int]],
    expert_counts: Sequence[int],
    windows: Sequence[int],
) -> list[LayerChoices]:
    """Fewer experts than the layer has, windows narrower than its own."""
    choices = []
    for layer, own in enumerate(parent.windows):
        experts = parent.expert_counts[layer]
        choices.append(
            LayerChoices(
                order=list(orders[layer]),
                expert_counts=sorted({c for c in expert_counts if c < experts}),
                windows=sorted({w for w in windows if own is None or w < own}),
            )
        )
    return choices


def keep_inputs(parent: Parent, shard: Shard, kept: Kept, budget_bytes: int) -> None:
    """Run the parent over a shard; afterwards `kept` has the input of every layer, by
    `input_name`, the final hidden state's as that of the layer behind the last."""
    for unit in shard.units:
        kept.put(input_name(unit, 0), parent.embed(unit))
    for layer in range(parent.layers):
        for group in groups(shard.units, working_bytes(parent, shard, 1), budget_bytes):
            inputs = [kept.get(input_name(unit, layer)).to(parent.device) for unit in group]
            outputs = advance(parent, layer, list(zip(group, inputs, strict=True)))
            for unit, output_BTD in zip(group, outputs, strict=True):
                kept.put(input_name(unit, layer + 1), output_BTD)


def input_name(unit: Unit, layer: int) -> str:
    return f"input-{unit.index}-{layer}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacing:
    """One layer, what is tried on it, and how the damage is measured."""

    layer: int
    choices: LayerChoices
    measure: Measure


def score_layer(
    parent: Parent, shard: Shard, replacing: Replacing, kept: Kept, budget_bytes: int
) -> Figures:
    """Every choice of one layer over a shard.

    A local measure goes on from `unit_name` and leaves the layer's output there; any other wants
    `keep_inputs` before.
    """
    count = 1 + len(replacing.choices.all)
    found: list[list[torch.Tensor]] = []
    if count == 1 and not replacing.measure.is_local:
        empty = torch.empty(0, 1, 1, parent.hidden_size, device=parent.device)
        for unit in shard.units:
            found += _behind(parent, replacing, [(unit, empty)], kept)
        return {"scale": torch.cat([scale for (scale,) in found])}
    for group in groups(shard.units, working_bytes(parent, shard, count), budget_bytes):
        inputs = [_input(parent, unit, replacing, kept) for unit in group]
        outputs = replace_layer(parent, replacing, list(zip(group, inputs, strict=True)))
        for unit, output_CBTD in zip(group, outputs, strict=True):
            if replacing.measure.is_local:
                kept.put(unit_name(unit), output_CBTD[0].clone())
                figures = replacing.measure.compare(unit, output_CBTD[0], output_CBTD[1:])
                found.append([figure.cpu() for figure in figures])
        if not replacing.measure.is_local:
            others = [output_CBTD[1:] for output_CBTD in outputs]
            found += _behind(parent, replacing, list(zip(group, others, strict=True)), kept)
    names = ["scale", *(choice_name(choice) for choice in replacing.choices.all)]
    columns = zip(*found, strict=True)
    return {name: torch.cat(list(c)) for name, c in zip(names, columns, strict=True)}


def choice_name(choice: Choice) -> str:
    return f"{choice[0]}-{choice[1]}"


def _input(parent: Parent, unit: Unit, replacing: Replacing, kept: Kept) -> torch.Tensor:
    is_local = replacing.measure.is_local
    name = unit_name(unit) if is_local else input_name(unit, replacing.layer)
    return kept.get(name).to(parent.device)


def replace_layer(
    parent: Parent, replacing: Replacing, work: Sequence[tuple[Unit, torch.Tensor]]
) -> list[torch.Tensor]:
    """For each unit [1 + C, B, T, D]: the layer's own output, then that under every choice."""
    layer, choices = replacing.layer, replacing.choices
    halves: list[list[torch.Tensor]] = []
    parts = []
    for unit, hidden_BTD in work:
        attended = [parent.attend(layer, unit, hidden_BTD)]
        attended += [parent.attend(layer, unit, hidden_BTD, window) for window in choices.windows]
        halves.append(attended)
        x_ND = parent.expert_input(layer, attended[0])
        own_parts = split(unit, x_ND, lambda x: subset_weights(parent, layer, choices, x))
        parts.append([own_parts])
        for other_BTD in attended[1:]:
            x_ND = parent.expert_input(layer, other_BTD)
            parts[-1].append(split(unit, x_ND, lambda x: own_weights(parent, layer, x)))
    mix(parent, layer, [p for unit_parts in parts for one in unit_parts for p in one])
    outputs = []
    for attended, unit_parts in zip(halves, parts, strict=True):
        shape = attended[0].shape
        mixed = [joined(one).unflatten(1, shape[:2]) for one in unit_parts]
        pieces = [half_BTD + m for half_BTD, m in zip(attended, mixed, strict=True)]
        outputs.append(torch.cat(pieces))
    return outputs


def subset_weights(
    parent: Parent, layer: int, choices: LayerChoices, x_ND: torch.Tensor
) -> torch.Tensor:
    """Weights [1 + counts, N, E]: with all experts, then with the first `count` of the order."""
    logits_NE = parent.router_logits(layer, x_ND)
    kept_sets = [choices.order[:count] for count in choices.expert_counts]
    subsets = [route(logits_NE, parent.top_k, kept) for kept in kept_sets]
    return torch.stack([route(logits_NE, parent.top_k), *subsets])


def own_weights(parent: Parent, layer: int, x_ND: torch.Tensor) -> torch.Tensor:
    return route(parent.router_logits(layer, x_ND), parent.top_k)[None]


def _behind(
    parent: Parent,
    replacing: Replacing,
    work: Sequence[tuple[Unit, torch.Tensor]],
    kept: Kept,
) -> list[list[torch.Tensor]]:
    """Runs the layers behind the replaced one on all choices at once, and compares at the end."""
    wide = [(repeated(unit, len(other)), other.flatten(0, 1)) for unit, other in work]
    if len(work[0][1]):
        for layer in range(replacing.layer + 1, parent.layers):
            states = advance(parent, layer, wide)
            wide = [(unit, state) for (unit, _), state in zip(wide, states, strict=True)]
    figures = []
    for (unit, other_CBTD), (_, state) in zip(work, wide, strict=True):
        own_BTD = parent.final_norm(kept.get(input_name(unit, parent.layers)).to(parent.device))
        others_CBTD = parent.final_norm(state).view_as(other_CBTD)
        found = replacing.measure.compare(unit, own_BTD, others_CBTD)
        figures.append([figure.cpu() for figure in found])
    return figures


def repeated(unit: Unit, times: int) -> Unit:
    """The same rows so many times over."""
    return Unit(
        index=unit.index,
        first_row=unit.first_row,
        input_ids_BT=unit.input_ids_BT.repeat(times, 1),
        position_ids_BT=unit.position_ids_BT.repeat(times, 1),
        document_ids_BT=unit.document_ids_BT.repeat(times, 1),
        loss_mask_BT=unit.loss_mask_BT.repeat(times, 1),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RelativeError:
    """Squared difference by row; the scale is the parent's own square."""

    is_local: bool

    def compare(
        self, unit: Unit, own_BTD: torch.Tensor, others_CBTD: torch.Tensor
    ) -> list[torch.Tensor]:
        counted_BT = unit.counted_BT
        figures = [_by_row(own_BTD, counted_BT)]
        return figures + [_by_row(other_BTD - own_BTD, counted_BT) for other_BTD in others_CBTD]


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """KL(parent || replaced), nats, summed by row; the scale is the number of tokens."""

    parent: Parent
    is_local: bool = False

    def compare(
        self, unit: Unit, own_BTD: torch.Tensor, others_CBTD: torch.Tensor
    ) -> list[torch.Tensor]:
        counted_BT = unit.counted_BT
        rows_N = counted_BT.nonzero()[:, 0]
        sums = [counted_BT.sum(1).double()]
        sums += [torch.zeros_like(sums[0]) for _ in others_CBTD]
        own_ND = own_BTD[counted_BT]
        others = [other_BTD[counted_BT] for other_BTD in others_CBTD]
        for start in range(0, own_ND.shape[0], TOKENS_PER_HEAD):
            part = slice(start, start + TOKENS_PER_HEAD)
            own_NV = self.parent.logits(own_ND[part]).log_softmax(-1)
            for at, other_ND in enumerate(others, start=1):
                other_NV = self.parent.logits(other_ND[part]).log_softmax(-1)
                nats_N = (own_NV.exp() * (own_NV - other_NV)).sum(-1, dtype=torch.float64)
                sums[at].index_add_(0, rows_N[part], nats_N)
        return sums


def measure_of(metric: str, parent: Parent) -> Measure:
    if metric == "kl":
        return Divergence(parent=parent)
    if metric in METRICS:
        return RelativeError(is_local=metric == "activation-mse")
    raise ValueError(f"unknown metric {metric}")


def _by_row(x_BTD: torch.Tensor, counted_BT: torch.Tensor) -> torch.Tensor:
    squares_BT = x_BTD.double().square().sum(-1)
    return torch.where(counted_BT, squares_BT, 0.0).sum(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Lower is better. `standard_error`: one standard deviation; None of fewer than two rows."""

    score: float
    standard_error: float | None


def ratio(error_R: torch.Tensor, scale_R: torch.Tensor) -> Score:
    """sum(error) / sum(scale), and its standard error from how it varies over rows:
    sqrt(n / (n - 1) sum (error - ratio scale)^2) / sum(scale). Rows without data do not count."""
    held = scale_R > 0
    error_R, scale_R = error_R[held], scale_R[held]
    rows, total = len(scale_R), float(scale_R.sum())
    if rows == 0:
        return Score(score=0.0, standard_error=None)
    score = float(error_R.sum()) / total
    if rows == 1:
        return Score(score=score, standard_error=None)
    spread = float((error_R - score * scale_R).square().sum()) * rows / (rows - 1)
    return Score(score=score, standard_error=math.sqrt(spread) / total)


def scores_of(figures: Mapping[str, torch.Tensor], choices: LayerChoices) -> dict[Choice, Score]:
    """Scores of a layer from its figures over all rows."""
    return {c: ratio(figures[choice_name(c)], figures["scale"]) for c in choices.all}
