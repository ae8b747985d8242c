"""The exported graph against PyTorch, for layers that differ, with and without an FP8 cache."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest
import torch

from fretsaw_engine.job import Job, StageFailure, read_job, run_job
from fretsaw_engine.methods.export_onnx.check import (
    CheckSettings,
    Difference,
    OnnxDecoder,
    cache_share_different,
    compare,
    require_equal,
    require_same_cache,
)
from fretsaw_engine.methods.export_onnx.graph import build_graph
from fretsaw_engine.methods.export_onnx.model import read_export_model
from fretsaw_engine.moe import puzzle
from fretsaw_engine.moe.checkpoint import build_model
from fretsaw_engine.moe.gpt_oss import config_document
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint
from fretsaw_engine.stages import export_onnx

torch.set_num_threads(1)

BLOCKS = [(8, 4), (5, None), (6, 4), (4, 12), (8, None)]
CHECK = CheckSettings(prompts=3, tokens=30)


def config(blocks=BLOCKS, **changes):
    document = config_document(
        vocab_size=64,
        layers=len(blocks),
        hidden=32,
        intermediate=32,
        experts=8,
        experts_per_token=2,
        heads=4,
        kv_heads=2,
        head_dim=16,
        sliding_window=4,
    )
    return document | {
        "model_type": "gpt_oss_puzzle",
        "architectures": ["GptOssPuzzleForCausalLM"],
        "block_configs": [{"num_local_experts": e, "sliding_window": w} for e, w in blocks],
        "layer_types": puzzle.layer_types([window for _, window in blocks]),
        **changes,
    }


def random_model(document, seed=0):
    model = build_model(document)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0.0, 0.5 if "embed" in name else 0.2)
    return model.eval()


def fp8_model(scale=None):
    document = config(quantization_config={"kv_cache_scheme": {"num_bits": 8}})
    model = random_model(document)
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.k_scale.fill_(0.01 + 0.001 * index if scale is None else scale)
        layer.self_attn.v_scale.fill_(0.02 if scale is None else scale)
    return model


def exported(model, folder, kv="float"):
    parts = read_export_model(model, kv)
    export_onnx.write_onnx(folder, build_graph(parts))
    windows = [layer.window for layer in parts.layers]
    return OnnxDecoder(folder / "model.onnx", windows, parts.kv_heads, parts.head_dim, 1)


def test_logits_equal_pytorchs_over_prompts_and_single_steps(tmp_path):
    model = random_model(config())
    difference = compare(model, exported(model, tmp_path), 64, CHECK)
    assert difference.greatest < 1e-4 * difference.scale


def test_a_plain_gpt_oss_is_exported_too(tmp_path):
    document = config()
    del document["block_configs"]
    model = random_model(
        document
        | {"model_type": "gpt_oss", "layer_types": puzzle.layer_types([4, None, 4, None, 4])}
    )
    difference = compare(model, exported(model, tmp_path), 64, CHECK)
    assert difference.greatest < 1e-4 * difference.scale


def test_a_window_that_is_one_token_off_is_found(tmp_path):
    model = random_model(config())
    wrong = random_model(config([(e, 5 if w == 4 else w) for e, w in BLOCKS]))
    difference = compare(model, exported(wrong, tmp_path), 64, CHECK)
    with pytest.raises(StageFailure) as failure:
        require_equal(difference, CHECK)
    assert failure.value.code == "ENGINE_BUG"
    assert float(failure.value.details["max_abs_logit_difference"]) == difference.greatest


@pytest.mark.parametrize("scale", [None, 1.0])
def test_an_fp8_cache_gives_pytorchs_fake_quantisation(tmp_path, scale):
    model = fp8_model(scale)
    decoder = exported(model, tmp_path, "fp8")
    assert cache_share_different(model, decoder, 64, CHECK) < 0.05
    assert compare(model, decoder, 64, CHECK).mean < 0.02
    for layer in model.model.layers:
        layer.self_attn.has_fp8_cache = False
    assert compare(model, decoder, 64, CHECK).mean > 0.02, "the quantisation changes nothing"


def test_an_fp8_cache_with_other_scales_is_found(tmp_path):
    model = fp8_model()
    decoder = exported(model, tmp_path, "fp8")
    for layer in model.model.layers:
        layer.self_attn.v_scale.fill_(0.023)
    with pytest.raises(StageFailure, match="FP8 cache") as failure:
        require_same_cache(cache_share_different(model, decoder, 64, CHECK))
    assert failure.value.details["cache_share_different"] > 0.4


def test_an_fp8_cache_that_is_not_quantised_is_found(tmp_path):
    model = fp8_model()
    assert cache_share_different(model, exported(model, tmp_path), 64, CHECK) > 0.9


def test_fp8_needs_calibrated_scales():
    with pytest.raises(StageFailure, match="k_scale and v_scale") as failure:
        read_export_model(random_model(config()), "fp8")
    assert failure.value.code == "BAD_INPUT"


def test_nan_logits_are_never_equal():
    bad = Difference(greatest=float("nan"), mean=0.0, scale=1.0)
    with pytest.raises(StageFailure):
        require_equal(bad, CHECK)
    with pytest.raises(StageFailure):
        require_same_cache(float("nan"))


def test_equal_models_give_equal_bytes_and_no_path_or_time():
    graphs = [build_graph(read_export_model(random_model(config()), "float")) for _ in range(2)]
    first, second = (graph.SerializeToString(deterministic=True) for graph in graphs)
    assert first == second
    assert not any(part in first for part in (b"/work", b"/tmp", b"/home", b".py"))


def test_weights_lie_beside_a_big_graph(tmp_path):
    model = random_model(config())
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    export_onnx.write_onnx(whole, build_graph(read_export_model(model, "float")))
    export_onnx.write_onnx(parts, build_graph(read_export_model(model, "float")), largest=1000)
    assert sorted(p.name for p in parts.iterdir()) == ["model.onnx", "model.onnx.data"]
    loaded = onnx.load(parts / "model.onnx")
    expected = onnx.load(whole / "model.onnx")
    for a, b in zip(loaded.graph.initializer, expected.graph.initializer, strict=True):
        assert np.array_equal(onnx.numpy_helper.to_array(a), onnx.numpy_helper.to_array(b))


def job_for(folder, settings) -> Job:
    source = folder / "nano"
    write_nano_checkpoint(source, 3)
    document = {
        "schema": "fretsaw/job/v1",
        "key": "sha256:" + "0" * 64,
        "kind": "export-onnx",
        "version": "1",
        "attempt": 1,
        "with": settings,
        "inputs": {"model": {"digest": "sha256:" + "1" * 64, "path": str(source)}},
        "outputs": {"onnx": str(folder / "out" / "onnx")},
        "resources": {},
        "threads": 1,
        "folder": str(folder),
        "resume": None,
        "lease": {"seconds": 0},
    }
    (folder / "job.json").write_text(json.dumps(document))
    return read_job(folder / "job.json")


def test_the_stage_leaves_a_folder_that_needs_nothing_else(tmp_path):
    assert run_job(job_for(tmp_path, {}), export_onnx.run) == 0
    files = {path.name for path in (tmp_path / "out" / "onnx").iterdir()}
    assert files == {
        "model.onnx",
        "onnx.json",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    description = json.loads((tmp_path / "out" / "onnx" / "onnx.json").read_text())
    assert description["layers"][0] == {"experts": 8, "window": 4}
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    [metrics] = [event["values"] for event in events if event["event"] == "metrics"]
    assert 0 < metrics["max_abs_logit_difference"] < 1e-3


def test_unknown_settings_are_refused(tmp_path):
    for settings in ({"kv": "int4"}, {"cv": "float"}, {"check": {"tolerances": 1}}):
        assert run_job(job_for(tmp_path, settings), export_onnx.run) == 1
        last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
        assert last["code"] == "BAD_INPUT", last


def test_a_graph_above_the_tolerance_fails_the_stage(tmp_path):
    job = job_for(tmp_path, {"check": {"tolerance": 1e-12}})
    assert run_job(job, export_onnx.run) == 1
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert last["code"] == "ENGINE_BUG"
    assert not os.path.exists(tmp_path / "done.json")
