"""`export-onnx`: a checkpoint as an ONNX graph with KV cache, checked against PyTorch before it
counts.

Settings: `kv` (`float`, or `fp8`: the checkpoint's k_scale and v_scale are applied to what
enters the cache) and `check` {prompts, tokens, tolerance, seed}. Output `onnx`: model.onnx (and
model.onnx.data where one file would be too big for protobuf), the checkpoint's tokenizer,
template and configs, and onnx.json. What the check measured is an event, not a file: the last
bits of a difference depend on the processor, and the artifact must not.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.export_onnx.check import (
    CheckSettings,
    OnnxDecoder,
    cache_share_different,
    compare,
    require_equal,
    require_same_cache,
)
from fretsaw_engine.methods.export_onnx.graph import build_graph, window_name
from fretsaw_engine.methods.export_onnx.model import ExportModel, read_export_model
from fretsaw_engine.moe.checkpoint import ASSETS, CONFIG, load_model

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from fretsaw_engine.job import Job

EXTERNAL_DATA_BYTES = 2**30
"""Weights above this go to a file of their own: protobuf ends at 2 GiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    kv: str
    check: CheckSettings


def run(job: Job) -> None:
    settings = _settings(job.settings)
    torch.set_num_threads(job.threads)
    source, folder = job.input("model").path, job.outputs["onnx"]
    model = load_model(source)
    exported = read_export_model(model, settings.kv)
    write_onnx(folder, build_graph(exported))
    for name in (CONFIG, *ASSETS):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    _write_description(folder, exported, settings)
    job.progress(1, 2, "parts")
    job.stop_if_asked()
    _check(job, model, exported, settings)
    job.progress(2, 2, "parts")


def write_onnx(folder: Path, graph: onnx.ModelProto, largest: int = EXTERNAL_DATA_BYTES) -> None:
    """Write model.onnx; weights beside it when they are more than `largest` bytes."""
    import onnx

    path = folder / "model.onnx"
    if sum(len(tensor.raw_data) for tensor in graph.graph.initializer) > largest:
        onnx.save_model(
            graph,
            path,
            save_as_external_data=True,
            location=f"{path.name}.data",
            size_threshold=1024,
        )
        return
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _check(job: Job, model: Any, exported: ExportModel, settings: Settings) -> None:
    folder = job.outputs["onnx"]
    if settings.kv == "fp8":
        decoder = _decoder(folder, exported, job.threads)
        share = cache_share_different(model, decoder, exported.vocab_size, settings.check)
        job.metrics(0, {"cache_share_different": share})
        require_same_cache(share)
        folder = job.folder / "float-twin"
        folder.mkdir()
        write_onnx(folder, build_graph(read_export_model(model, "float")))
    for layer in model.model.layers:
        layer.self_attn.has_fp8_cache = False
    decoder = _decoder(folder, exported, job.threads)
    difference = compare(model, decoder, exported.vocab_size, settings.check)
    job.metrics(
        0,
        {
            "max_abs_logit_difference": difference.greatest,
            "mean_abs_logit_difference": difference.mean,
            "max_abs_logit": difference.scale,
        },
    )
    require_equal(difference, settings.check)
    if settings.kv == "fp8":
        shutil.rmtree(folder)


def _decoder(folder: Path, model: ExportModel, threads: int) -> OnnxDecoder:
    windows = [layer.window for layer in model.layers]
    return OnnxDecoder(folder / "model.onnx", windows, model.kv_heads, model.head_dim, threads)


def _write_description(folder: Path, model: ExportModel, settings: Settings) -> None:
    names = [window_name(window) for window in model.windows]
    pasts = [f"past.{i}.{part}" for i in range(len(model.layers)) for part in ("key", "value")]
    document = {
        "schema": "fretsaw/onnx/v1",
        "inputs": ["input_ids", "position_ids", *(f"lengths.{name}" for name in names), *pasts],
        "outputs": ["logits", "new_kv"],
        "layers": [{"experts": layer.experts, "window": layer.window} for layer in model.layers],
        "kv_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab_size,
        "kv": settings.kv,
        "check": asdict(settings.check),
    }
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    (folder / "onnx.json").write_text(text, encoding="utf-8")


def _settings(raw: dict[str, Any]) -> Settings:
    known = {"kv", "check"}
    if unknown := sorted(set(raw) - known):
        raise StageFailure("BAD_INPUT", f"export-onnx: unknown settings {unknown}")
    kv = raw.get("kv", "float")
    if kv not in ("float", "fp8"):
        raise StageFailure("BAD_INPUT", f"export-onnx: kv is float or fp8, not {kv!r}")
    try:
        check = CheckSettings(**raw.get("check", {}))
    except TypeError as error:
        raise StageFailure("BAD_INPUT", f"export-onnx: check: {error}") from error
    if check.prompts < 1 or check.tokens < 2 or not check.tolerance > 0:
        raise StageFailure("BAD_INPUT", f"export-onnx: check needs positive numbers, found {check}")
    return Settings(kv=kv, check=check)
