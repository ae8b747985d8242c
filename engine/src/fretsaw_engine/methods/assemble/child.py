"""The child of an architecture: the parent's tensors, fewer expert rows, narrower windows.

Nothing is computed. Kept experts are rows of the parent's stacked tensors (MXFP4 blocks, scales,
bias) and of its router; every other tensor is the parent's own. So pruning is exact, and
`verify.py` can prove it from the files.
"""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe import gpt_oss

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

    from fretsaw_engine.moe.checkpoint import Tensors

Layer = tuple[int, int | None]
"""Experts and window of one layer."""


def read_architecture(folder: Path, parent_config: Mapping[str, Any]) -> list[Layer]:
    """`architecture.json`, checked: no layer may have what its parent has not."""
    path = folder / "architecture.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        layers = [(layer["experts"], layer["window"]) for layer in document["layers"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageFailure("BAD_INPUT", f"architecture {path}: {error!r}") from error
    counts = gpt_oss.expert_counts(parent_config)
    if len(layers) != len(counts):
        raise StageFailure(
            "BAD_INPUT", f"{path}: {len(layers)} layers, the parent has {len(counts)}"
        )
    least = parent_config["num_experts_per_tok"]
    own = zip(counts, windows(parent_config), strict=True)
    for at, ((experts, window), (most, widest)) in enumerate(zip(layers, own, strict=True)):
        if type(experts) is not int or not least <= experts <= most:
            raise StageFailure(
                "BAD_INPUT", f"{path}: layer {at} keeps {experts!r} experts, not {least} to {most}"
            )
        if not _is_within(window, widest):
            raise StageFailure(
                "BAD_INPUT", f"{path}: layer {at} has window {window!r}, the parent {widest}"
            )
    return layers


def windows(config: Mapping[str, Any]) -> list[int | None]:
    """Window of every layer of a config.json; None sees everything."""
    if "block_configs" in config:
        return [block["sliding_window"] for block in config["block_configs"]]
    is_sliding = (kind == gpt_oss.SLIDING for kind in config["layer_types"])
    return [config["sliding_window"] if sliding else None for sliding in is_sliding]


def kept_experts(
    layers: Sequence[Layer], orders: Sequence[Sequence[int]], keep: str, seed: int
) -> list[list[int]]:
    """Ids of the parent's experts that stay, ascending: the best ranked, or as many at random."""
    if keep == "ranked":
        return [sorted(order[:count]) for (count, _), order in zip(layers, orders, strict=True)]
    if keep != "random":
        raise ValueError(f"unknown keep {keep}")
    return [
        sorted(_random(seed, layer).sample(range(len(order)), count))
        for layer, ((count, _), order) in enumerate(zip(layers, orders, strict=True))
    ]


def child_config(
    parent: Mapping[str, Any], layers: Sequence[Layer], rope_factor: float | None = None
) -> dict[str, Any]:
    """config.json in the published form; global `sliding_window` and `num_local_experts` stay."""
    config = json.loads(json.dumps(parent))
    config["model_type"] = "gpt_oss_puzzle"
    config["architectures"] = ["GptOssPuzzleForCausalLM"]
    config["block_configs"] = [
        {"num_local_experts": experts, "sliding_window": window} for experts, window in layers
    ]
    config["layer_types"] = [
        gpt_oss.FULL if window is None else gpt_oss.SLIDING for _, window in layers
    ]
    if rope_factor is not None:
        # openai/gpt-oss has `rope_scaling`, transformers 5 writes `rope_parameters`.
        scaling = config.get("rope_parameters") or config.get("rope_scaling")
        if not scaling or "factor" not in scaling:
            raise StageFailure("BAD_INPUT", "rope.factor is set, the parent's RoPE has no factor")
        scaling["factor"] = rope_factor
    return config


def child_tensors(
    parent: Tensors, config: Mapping[str, Any], kept: Sequence[Sequence[int]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the child, from the parent's files; expert and router rows by `kept`."""
    rows = {
        prefix: list(experts)
        for layer, experts in enumerate(kept)
        for prefix in (gpt_oss.experts_prefix(layer), gpt_oss.router_prefix(layer))
    }
    for name in gpt_oss.tensor_shapes(config):
        prefix = next((prefix for prefix in rows if name.startswith(prefix)), None)
        yield name, parent.get(name) if prefix is None else parent.rows(name, rows[prefix])


def _is_within(window: Any, widest: int | None) -> bool:
    if window is None:
        return widest is None
    return type(window) is int and window > 0 and (widest is None or window <= widest)


def _random(seed: int, layer: int) -> random.Random:
    digest = hashlib.sha256(f"fretsaw/assemble/{seed}/{layer}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))
