"""Weighted averages of checkpoints of one architecture (model soups, arXiv 2203.05482).

The sum runs in float64 and is rounded once, to the dtype of the file. Router and experts were
frozen in all of them, so they must be the same bytes in all of them: a difference means that
something else was trained.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe.gpt_oss import is_expert_or_router, is_kv_scale

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fretsaw_engine.moe.checkpoint import Tensors


def shares(names: Sequence[str], weights: Any) -> list[float]:
    """Weights in the order of `names`, scaled to the sum 1. None is equal weights."""
    if weights is None:
        weights = [1.0] * len(names)
    if isinstance(weights, dict):
        if set(weights) != set(names):
            raise StageFailure(
                "BAD_INPUT", f"weights name {sorted(weights)}, the inputs are {sorted(names)}"
            )
        weights = [weights[name] for name in names]
    if not isinstance(weights, list) or len(weights) != len(names):
        raise StageFailure("BAD_INPUT", f"{len(names)} models, weights {weights!r}")
    is_number = [isinstance(w, int | float) and not isinstance(w, bool) for w in weights]
    if not all(is_number) or not all(math.isfinite(w) and w >= 0 for w in weights):
        raise StageFailure("BAD_INPUT", f"weights must be numbers of at least 0: {weights!r}")
    total = math.fsum(weights)
    if total <= 0:
        raise StageFailure("BAD_INPUT", "the weights sum to 0")
    return [weight / total for weight in weights]


def check_configs(names: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> None:
    """All configs must be equal; the first key that is not is named."""
    first = configs[0]
    for name, config in zip(names[1:], configs[1:], strict=True):
        for key in sorted(set(first) | set(config)):
            if first.get(key) != config.get(key):
                raise StageFailure(
                    "BAD_INPUT",
                    f"config.json of {name} differs from that of {names[0]} in {key}: "
                    f"{config.get(key)!r}, {first.get(key)!r}",
                )


def average_tensors(
    names: Sequence[str], checkpoints: Sequence[Tensors], weights: Sequence[float]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the average, one at a time."""
    for tensor_name in checkpoints[0].names():
        if is_kv_scale(tensor_name):
            raise StageFailure(
                "BAD_INPUT", f"{tensor_name}: KV scales do not average; calibrate the average"
            )
        values = [
            _get(checkpoint, name, tensor_name) for name, checkpoint in _pairs(names, checkpoints)
        ]
        first = values[0]
        for name, value in zip(names, values, strict=True):
            if value.dtype != first.dtype or value.shape != first.shape:
                raise StageFailure(
                    "BAD_INPUT",
                    f"{tensor_name}: {value.dtype} {list(value.shape)} in {name}, "
                    f"{first.dtype} {list(first.shape)} in {names[0]}",
                )
            if is_expert_or_router(tensor_name) and not _same_bytes(value, first):
                raise StageFailure(
                    "BAD_INPUT",
                    f"{tensor_name} is frozen, and differs between {names[0]} and {name}",
                    {"tensor": tensor_name},
                )
        frozen = is_expert_or_router(tensor_name)
        yield tensor_name, first if frozen else weighted_sum(values, weights)


def weighted_sum(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """sum_i weights[i] values[i], in float64, rounded once to the values' dtype."""
    total = torch.zeros(values[0].shape, dtype=torch.float64)
    for value, weight in zip(values, weights, strict=True):
        total += value.double() * weight
    return total.to(values[0].dtype)


def _pairs(names: Sequence[str], checkpoints: Sequence[Tensors]) -> Iterator[tuple[str, Tensors]]:
    return zip(names, checkpoints, strict=True)


def _get(checkpoint: Tensors, name: str, tensor: str) -> torch.Tensor:
    if tensor not in checkpoint:
        raise StageFailure("BAD_INPUT", f"{name} has no tensor {tensor}")
    return checkpoint.get(tensor)


def _same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
