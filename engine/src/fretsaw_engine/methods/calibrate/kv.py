"""Scales of an FP8 (e4m3) KV cache: one number a layer for K (after RoPE), one for V.

A cache stores x / scale in e4m3, which holds 448 at most. Three ways to choose the scale:

- max: amax / 448. Nothing saturates; what is far below amax loses precision.
- percentile: the given percentile of |x| takes amax's place; the rest saturates.
- mse: the fraction of amax that gives the least squared error, out of `FRACTIONS`.

`max` needs one pass over the calibration data, the other two a second one that knows amax.
Statistics are float64 or exact maxima, so they do not depend on how the data is split.

Shape suffixes: B rows, H KV heads, T tokens, X head_dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from fretsaw_engine.data.packed import PADDING
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.score.parent import batches
from fretsaw_engine.moe.puzzle import FP8_MAX, fake_fp8

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fretsaw_engine.data.packed import Packed

BINS = 16384
"""Bins of |x| / amax for percentiles: an error of amax / 16384 at most, far below e4m3's own."""

FRACTIONS = tuple(2 ** (-i / 8) for i in range(41))
"""Candidates of `mse`, as fractions of amax: down to 1/32 in eighths of an octave."""

Tensor = tuple[int, str]
"""Layer, and "k" or "v"."""


class Statistic(Protocol):
    """Sees every counted K and V of every layer once."""

    def see(self, tensor: Tensor, x: torch.Tensor) -> None: ...


@dataclass(kw_only=True)
class Maxima:
    """Largest |x| of every tensor, and how it grew from batch to batch."""

    amax: dict[Tensor, float] = field(default_factory=dict)
    history: dict[Tensor, list[float]] = field(default_factory=dict)

    def see(self, tensor: Tensor, x: torch.Tensor) -> None:
        largest = float(x.abs().max()) if x.numel() else 0.0
        if not math.isfinite(largest):
            raise StageFailure("BAD_INPUT", f"{_name(tensor)} is not finite on calibration data")
        self.amax[tensor] = max(largest, self.amax.get(tensor, 0.0))
        self.history.setdefault(tensor, []).append(self.amax[tensor])


@dataclass(kw_only=True)
class Histograms:
    """Counts of |x| / amax in equal bins."""

    amax: dict[Tensor, float]
    counts: dict[Tensor, torch.Tensor] = field(default_factory=dict)

    def see(self, tensor: Tensor, x: torch.Tensor) -> None:
        bins = (x.abs().double() / self.amax[tensor] * BINS).long().clamp(max=BINS - 1)
        counts = torch.bincount(bins.flatten(), minlength=BINS)
        self.counts[tensor] = self.counts.get(tensor, torch.zeros_like(counts)) + counts

    def percentile(self, tensor: Tensor, percent: float) -> float:
        """Upper edge of the bin in which `percent` of all values are reached."""
        so_far = self.counts[tensor].cumsum(0)
        reached = so_far.double() >= percent / 100 * float(so_far[-1])
        return self.amax[tensor] * (int(reached.nonzero()[0]) + 1) / BINS


@dataclass(kw_only=True)
class SquaredErrors:
    """Squared error of the cache for every candidate scale."""

    amax: dict[Tensor, float]
    errors: dict[Tensor, list[float]] = field(default_factory=dict)

    def see(self, tensor: Tensor, x: torch.Tensor) -> None:
        errors = self.errors.setdefault(tensor, [0.0] * len(FRACTIONS))
        for i, fraction in enumerate(FRACTIONS):
            kept = fake_fp8(x, fraction * self.amax[tensor] / FP8_MAX)
            errors[i] += float((kept.double() - x.double()).square().sum())

    def best(self, tensor: Tensor) -> float:
        """The fraction of amax with the least error; of equals the largest."""
        errors = self.errors[tensor]
        return FRACTIONS[errors.index(min(errors))] * self.amax[tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Scale of every calibrated tensor, and the maxima behind it."""

    scales: dict[Tensor, float]
    maxima: Maxima


def calibrate(
    model: Any,
    packed: Packed,
    layers: Sequence[int],
    *,
    method: str = "max",
    percentile: float = 99.99,
    tick: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """Scales for K and V of `layers`. `tick` is told the rows done, of each pass."""
    maxima = Maxima()
    observe(model, packed, layers, maxima, tick)
    if dead := [tensor for tensor, amax in maxima.amax.items() if amax == 0]:
        raise StageFailure("BAD_INPUT", f"{_name(dead[0])} is zero on all calibration data")
    ranges = dict(maxima.amax)
    if method == "percentile":
        histograms = Histograms(amax=maxima.amax)
        observe(model, packed, layers, histograms, tick)
        ranges = {tensor: histograms.percentile(tensor, percentile) for tensor in ranges}
    elif method == "mse":
        errors = SquaredErrors(amax=maxima.amax)
        observe(model, packed, layers, errors, tick)
        ranges = {tensor: errors.best(tensor) for tensor in ranges}
    elif method != "max":
        raise ValueError(f"unknown method {method}")
    return Calibration(
        scales={tensor: _scale(value) for tensor, value in ranges.items()}, maxima=maxima
    )


def observe(
    model: Any,
    packed: Packed,
    layers: Sequence[int],
    statistic: Statistic,
    tick: Callable[[int], None] = lambda _: None,
) -> None:
    """Run the model over the data; `statistic` sees K and V as they would enter the cache."""
    wanted = frozenset(layers)
    done = 0
    with torch.no_grad():
        for batch in batches(model, packed):
            cache = _Watcher(statistic, wanted, batch.document_ids_BT != PADDING)
            hidden_BTD = batch.embed()
            for layer in range(max(wanted, default=-1) + 1):
                attended_BTD = batch.attend(layer, hidden_BTD, cache=cache)
                hidden_BTD = batch.mix(layer, attended_BTD)
            done += batch.input_ids_BT.shape[0]
            tick(done)


class _Watcher:
    """Stands where attention has its cache, which is handed K after RoPE and V: shows them on."""

    def __init__(
        self, statistic: Statistic, layers: frozenset[int], counted_BT: torch.Tensor
    ) -> None:
        self._statistic = statistic
        self._layers = layers
        self._counted_BT = counted_BT

    def update(
        self, key_BHTX: torch.Tensor, value_BHTX: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if layer_idx in self._layers:
            for name, x_BHTX in (("k", key_BHTX), ("v", value_BHTX)):
                x_BTHX = x_BHTX.transpose(1, 2)
                self._statistic.see((layer_idx, name), x_BTHX[self._counted_BT])
        return key_BHTX, value_BHTX


def _scale(largest: float) -> float:
    """float32, as it is stored. Never exactly 1.0, which means "not calibrated" to a reader."""
    scale = torch.tensor(largest / FP8_MAX, dtype=torch.float32)
    if scale == 1.0:
        scale = torch.nextafter(scale, torch.tensor(2.0))
    return float(scale)


def _name(tensor: Tensor) -> str:
    return f"layer {tensor[0]}'s {tensor[1].upper()}"
