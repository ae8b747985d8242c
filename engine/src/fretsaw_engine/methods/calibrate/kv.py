"""Scales of an FP8 (e4m3) KV cache: one number a layer for K (after RoPE), one for V.

A cache stores x / scale in e4m3, which holds 448 at most. Three ways to choose the scale:

- max: amax / 448. Nothing saturates; what is far below amax loses precision.
- percentile: the given percentile of |x| takes amax's place; the rest saturates.
- mse: the fraction of amax that gives the least squared error, out of `FRACTIONS`.

`max` needs one pass over the calibration data, the other two a second one that knows amax. The
checkpoint is read layer by layer, its experts one at a time, on whatever device there is; shards of
the data are split over processes. Statistics are exact maxima, counts, or float64 sums in the order
of shards, so they depend neither on the number of processes nor on a restart.

Shape suffixes: B rows, G KV heads, T tokens, X head_dim, U units of a shard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.score.experts import keep_embedded, unit_name, working_bytes
from fretsaw_engine.methods.score.kept import Kept
from fretsaw_engine.methods.score.mixture import add_experts
from fretsaw_engine.methods.score.progress import Phase, Progress
from fretsaw_engine.methods.score.units import groups, shards_of
from fretsaw_engine.moe.puzzle import FP8_MAX, fake_fp8

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fretsaw_engine.data.packed import Packed
    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.score.budget import Budget
    from fretsaw_engine.methods.score.layers import Parent
    from fretsaw_engine.methods.score.progress import Figures
    from fretsaw_engine.methods.score.units import Shard, Unit

BINS = 16384
"""Bins of |x| / amax for percentiles: an error of amax / 16384 at most, far below e4m3's own."""

FRACTIONS = tuple(2 ** (-i / 8) for i in range(41))
"""Candidates of `mse`, as fractions of amax: down to 1/32 in eighths of an octave."""

Tensor = tuple[int, str]
"""Layer, and "k" or "v"."""


class Statistic(Protocol):
    """What a pass gathers of every K and V that counts."""

    def of_unit(self, tensor: Tensor, x: torch.Tensor) -> torch.Tensor:
        """Of one unit's values."""
        ...

    def of_shard(self, units: torch.Tensor) -> torch.Tensor:
        """Of a shard, from those of its units, stacked along the first axis."""
        ...

    def add(self, tensor: Tensor, shard: torch.Tensor) -> None:
        """Takes in a shard's; shards come in order."""
        ...


@dataclass(kw_only=True)
class Maxima:
    """Largest |x| of every tensor, and how it grew from unit to unit."""

    amax: dict[Tensor, float] = field(default_factory=dict)
    history: dict[Tensor, list[float]] = field(default_factory=dict)

    def of_unit(self, tensor: Tensor, x: torch.Tensor) -> torch.Tensor:
        largest = x.abs().amax() if x.numel() else x.new_zeros(())
        if not bool(torch.isfinite(largest)):
            raise StageFailure("BAD_INPUT", f"{_name(tensor)} is not finite on calibration data")
        return largest

    def of_shard(self, units: torch.Tensor) -> torch.Tensor:
        return units

    def add(self, tensor: Tensor, shard: torch.Tensor) -> None:
        for largest in shard.tolist():
            self.amax[tensor] = max(largest, self.amax.get(tensor, 0.0))
            self.history.setdefault(tensor, []).append(self.amax[tensor])


@dataclass(kw_only=True)
class Histograms:
    """Counts of |x| / amax in equal bins."""

    amax: dict[Tensor, float]
    counts: dict[Tensor, torch.Tensor] = field(default_factory=dict)

    def of_unit(self, tensor: Tensor, x: torch.Tensor) -> torch.Tensor:
        bins = (x.abs().double() / self.amax[tensor] * BINS).long().clamp(max=BINS - 1)
        return torch.bincount(bins.flatten(), minlength=BINS)

    def of_shard(self, units: torch.Tensor) -> torch.Tensor:
        return units.sum(0)

    def add(self, tensor: Tensor, shard: torch.Tensor) -> None:
        self.counts[tensor] = self.counts.get(tensor, torch.zeros_like(shard)) + shard

    def percentile(self, tensor: Tensor, percent: float) -> float:
        """Upper edge of the bin in which `percent` of all values are reached."""
        so_far = self.counts[tensor].cumsum(0)
        reached = so_far.double() >= percent / 100 * float(so_far[-1])
        return self.amax[tensor] * (int(reached.nonzero()[0]) + 1) / BINS


@dataclass(kw_only=True)
class SquaredErrors:
    """Squared error of the cache for every candidate scale."""

    amax: dict[Tensor, float]
    errors: dict[Tensor, torch.Tensor] = field(default_factory=dict)

    def of_unit(self, tensor: Tensor, x: torch.Tensor) -> torch.Tensor:
        kept = (fake_fp8(x, f * self.amax[tensor] / FP8_MAX) for f in FRACTIONS)
        return torch.stack([(each.double() - x.double()).square().sum() for each in kept])

    def of_shard(self, units: torch.Tensor) -> torch.Tensor:
        return units.sum(0)

    def add(self, tensor: Tensor, shard: torch.Tensor) -> None:
        self.errors[tensor] = self.errors.get(tensor, torch.zeros_like(shard)) + shard

    def best(self, tensor: Tensor) -> float:
        """The fraction of amax with the least error; of equals the largest."""
        errors = self.errors[tensor].tolist()
        return FRACTIONS[errors.index(min(errors))] * self.amax[tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Scale of every calibrated tensor, and the maxima behind it."""

    scales: dict[Tensor, float]
    maxima: Maxima


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The checkpoint, the data, and the layers whose cache is calibrated."""

    parent: Parent
    packed: Packed
    layers: Sequence[int]
    budget: Budget


def calibrate(
    job: Job, source: Source, *, method: str = "max", percentile: float = 99.99
) -> Calibration:
    """Scales for K and V, on every rank."""
    shards = shards_of(source.packed, source.parent.device)
    passes = 1 if method == "max" else 2
    progress = Progress(job, passes * (max(source.layers) + 1) * len(shards))
    maxima = Maxima()
    observe(job, source, shards, maxima, progress)
    if dead := [tensor for tensor, amax in maxima.amax.items() if amax == 0]:
        raise StageFailure("BAD_INPUT", f"{_name(dead[0])} is zero on all calibration data")
    ranges = dict(maxima.amax)
    if method == "percentile":
        histograms = Histograms(amax=maxima.amax)
        observe(job, source, shards, histograms, progress)
        ranges = {tensor: histograms.percentile(tensor, percentile) for tensor in ranges}
    elif method == "mse":
        errors = SquaredErrors(amax=maxima.amax)
        observe(job, source, shards, errors, progress)
        ranges = {tensor: errors.best(tensor) for tensor in ranges}
    elif method != "max":
        raise ValueError(f"unknown method {method}")
    return Calibration(
        scales={tensor: _scale(value) for tensor, value in ranges.items()}, maxima=maxima
    )


def observe(
    job: Job, source: Source, shards: list[Shard], statistic: Statistic, progress: Progress
) -> None:
    """One pass; `statistic` sees K and V as they would enter the cache."""
    parent = source.parent
    kept = Kept.of_job(job, source.budget.kept)
    last = max(source.layers)

    def begin(shard: Shard) -> None:
        keep_embedded(parent, shard, kept)

    def work(shard: Shard, layer: int) -> Figures:
        seen: dict[str, list[torch.Tensor]] = {"k": [], "v": []}

        def look(unit: Unit, key_BGTX: torch.Tensor, value_BGTX: torch.Tensor) -> None:
            for name, x_BGTX in (("k", key_BGTX), ("v", value_BGTX)):
                x = x_BGTX.transpose(1, 2)[unit.counted_BT]
                seen[name].append(statistic.of_unit((layer, name), x).cpu())

        for group in groups(shard.units, working_bytes(parent, shard, 1), source.budget.working):
            attended = []
            for unit in group:
                hidden_BTD = kept.get(unit_name(unit)).to(parent.device)
                see = (lambda k, v, u=unit: look(u, k, v)) if layer in source.layers else None
                attended.append(parent.attend(layer, unit, hidden_BTD, see=see))
            if layer < last:
                outputs = add_experts(parent, layer, group, attended)
                for unit, output_BTD in zip(group, outputs, strict=True):
                    kept.put(unit_name(unit), output_BTD)
        return {
            name: statistic.of_shard(torch.stack(units)) for name, units in seen.items() if units
        }

    phase = Phase(
        name=type(statistic).__name__.lower(),
        shards=shards,
        layers=last + 1,
        kept=kept,
        keeps_hidden=True,
        begin=begin,
        work=work,
    )
    for figures in progress.run(phase):
        for layer in source.layers:
            for name in ("k", "v"):
                statistic.add((layer, name), figures[f"{layer}.{name}"])


def _scale(largest: float) -> float:
    """float32, as it is stored. Never exactly 1.0, which means "not calibrated" to a reader."""
    scale = torch.tensor(largest / FP8_MAX, dtype=torch.float32)
    if scale == 1.0:
        scale = torch.nextafter(scale, torch.tensor(2.0))
    return float(scale)


def _name(tensor: Tensor) -> str:
    return f"layer {tensor[0]}'s {tensor[1].upper()}"
