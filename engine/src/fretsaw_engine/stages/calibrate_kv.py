"""Stage `calibrate-kv`: the checkpoint with scales for an FP8 KV cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import torch

from fretsaw_engine.data.packed import PADDING, read_dataset
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.calibrate.kv import Calibration, Maxima, Source, calibrate
from fretsaw_engine.methods.score.budget import Budget
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.methods.score.parent import calibration_rows, check_tokenizer
from fretsaw_engine.moe.checkpoint import open_tensors, read_config, write_checkpoint
from fretsaw_engine.moe.gpt_oss import attention_prefix
from fretsaw_engine.moe.puzzle import parse_config
from fretsaw_engine.training import distributed
from fretsaw_engine.training.settings import read_settings, require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fretsaw_engine.data.packed import Packed
    from fretsaw_engine.job import Job

KV_CACHE_SCHEME = {
    "num_bits": 8,
    "type": "float",
    "strategy": "tensor",
    "dynamic": False,
    "symmetric": True,
}
"""As compressed-tensors writes it into `quantization_config`."""

ROWS_SEED = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateKvSettings:
    """`scale` writes that number everywhere instead of calibrating: the control of an A/B."""

    method: Literal["max", "percentile", "mse"] = "max"
    percentile: float = 99.99
    skip_windowed: bool = False
    tokens: int | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        require(0 < self.percentile <= 100, "percentile must be within 0 and 100")
        require(self.tokens is None or self.tokens > 0, "tokens must be positive")
        require(self.scale is None or self.scale > 0, "scale must be positive")


def run(job: Job) -> None:
    settings = read_settings(CalibrateKvSettings, job.settings)
    torch.set_num_threads(job.threads)
    source, data = job.input("model").path, job.input("data")
    config = read_config(source)
    if (config.get("quantization_config") or {}).get("kv_cache_scheme"):
        raise StageFailure("BAD_INPUT", "the checkpoint has KV scales already")
    distributed.start()
    dataset = read_dataset(data.path)
    check_tokenizer(dataset, source)
    packed = calibration_rows(dataset.packed, config["vocab_size"], settings.tokens, ROWS_SEED)
    windows = parse_config(config).windows
    is_skipped = [settings.skip_windowed and window is not None for window in windows]
    layers = [layer for layer, skipped in enumerate(is_skipped) if not skipped]
    if not layers:
        raise StageFailure("BAD_INPUT", "skip_windowed leaves no layer: all are windowed")

    found = _calibration(job, settings, packed, layers)
    if distributed.rank() > 0:
        return
    folder = job.outputs["checkpoint"]
    skipped = [layer for layer in range(len(windows)) if layer not in layers]
    write_scales(folder, source, scheme_config(config, skipped), found.scales)
    check_scales(folder, found.scales, allow_one=settings.scale is not None)
    tokens = int((packed.document_ids != PADDING).sum())
    document = {
        "schema": "fretsaw/kv-calibration/v1",
        "data": data.digest,
        "tokens": tokens,
        "method": "fixed" if settings.scale is not None else settings.method,
        "percentile": settings.percentile if settings.method == "percentile" else None,
        "skipped_layers": skipped,
        "tensors": [_entry(tensor, found) for tensor in sorted(found.scales)],
    }
    text = json.dumps(document, indent=1) + "\n"
    (job.outputs["history"] / "history.json").write_text(text, encoding="utf-8")


def scheme_config(config: Mapping[str, Any], skipped: list[int]) -> dict[str, Any]:
    """config.json that announces the scales, and which layers have none."""
    quantization = dict(config.get("quantization_config") or {})
    quantization["kv_cache_scheme"] = KV_CACHE_SCHEME
    if skipped:
        quantization["kv_cache_skip_layers"] = skipped
    return {**config, "quantization_config": quantization}


def write_scales(
    folder: Path, source: Path, config: Mapping[str, Any], scales: Mapping[tuple[int, str], float]
) -> None:
    """The source's own tensors, and one float32 scalar for every scale."""
    added = [
        (scale_name(*tensor), torch.tensor(value, dtype=torch.float32))
        for tensor, value in sorted(scales.items())
    ]
    with open_tensors(source) as tensors:
        kept = ((name, tensors.get(name)) for name in tensors.names())
        write_checkpoint(folder, config, chain(kept, added), source)


def check_scales(folder: Path, scales: Mapping[tuple[int, str], float], *, allow_one: bool) -> None:
    """Read the file again: every scale is there, as computed, and none is a silent 1.0."""
    with open_tensors(folder) as tensors:
        for tensor, value in scales.items():
            name = scale_name(*tensor)
            if name not in tensors:
                raise StageFailure("ENGINE_BUG", f"{name} is missing from what was written")
            stored = tensors.get(name)
            if stored.shape != () or stored.dtype != torch.float32 or float(stored) != value:
                raise StageFailure("ENGINE_BUG", f"{name}: wrote {value}, read {stored}")
            if float(stored) == 1.0 and not allow_one:
                raise StageFailure("ENGINE_BUG", f"{name} is 1.0: the layer was not calibrated")


def scale_name(layer: int, tensor: str) -> str:
    return f"{attention_prefix(layer)}{tensor}_scale"


def _calibration(
    job: Job, settings: CalibrateKvSettings, packed: Packed, layers: list[int]
) -> Calibration:
    if settings.scale is not None:
        value = float(torch.tensor(settings.scale, dtype=torch.float32))
        scales = {(layer, name): value for layer in layers for name in ("k", "v")}
        return Calibration(scales=scales, maxima=Maxima())

    budget = Budget.of_job(job)
    folder, device = job.input("model").path, distributed.device()
    with (
        torch.no_grad(),
        Parent(folder=folder, budget_bytes=budget.weights, device=device) as parent,
    ):
        source = Source(parent=parent, packed=packed, layers=layers, budget=budget)
        return calibrate(job, source, method=settings.method, percentile=settings.percentile)


def _entry(tensor: tuple[int, str], found: Calibration) -> dict[str, Any]:
    layer, name = tensor
    return {
        "layer": layer,
        "tensor": name,
        "scale": found.scales[tensor],
        "amax": found.maxima.amax.get(tensor),
        "amax_history": found.maxima.history.get(tensor, []),
    }
