"""Scales of the FP8 cache: against plain statistics, and what happens without them."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stage_job import run_stage, write_job
from transformers import AutoModelForCausalLM

from fretsaw_engine.data.packed import pack, write_dataset
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure, read_job
from fretsaw_engine.methods.calibrate.kv import FRACTIONS, Maxima, Source, calibrate
from fretsaw_engine.methods.score import units
from fretsaw_engine.methods.score.budget import Budget
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.moe.checkpoint import load_model, read_config
from fretsaw_engine.moe.puzzle import FP8_MAX, fake_fp8
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint
from fretsaw_engine.stages import calibrate_kv

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano")
    write_nano_checkpoint(folder, seed=21)
    return folder


@pytest.fixture(scope="module")
def documents(checkpoint):
    generator = torch.Generator().manual_seed(2)
    vocabulary = read_config(checkpoint)["vocab_size"]
    found = []
    for _ in range(25):
        length = int(torch.randint(5, 40, (1,), generator=generator))
        ids = torch.randint(1, vocabulary, (length,), generator=generator).tolist()
        found.append(Document(ids=ids, mask=[0] + [1] * (length - 1)))
    return found


@pytest.fixture(scope="module")
def data(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(
        folder, examples=[{}] * len(documents), packed=pack(documents, 64), description={}
    )
    return folder


def run(folder, checkpoint, data, **settings):
    inputs = {"model": checkpoint, "data": data}
    return run_stage(calibrate_kv, folder, inputs, ["checkpoint", "history"], **settings)


def cached_values(checkpoint, documents):
    """K after RoPE and V of every layer, from transformers' own cache, document by document."""
    model = load_model(checkpoint)
    found: dict = {}
    for document in documents:
        cache = EverythingCache()
        with torch.no_grad():
            model(torch.tensor([document.ids]), past_key_values=cache, use_cache=True)
        for (layer, name), x in cache.seen.items():
            found.setdefault((layer, name), []).append(x.flatten())
    return {tensor: torch.cat(parts) for tensor, parts in found.items()}


class EverythingCache:
    is_compileable = False

    def __init__(self):
        self.seen = {}

    def update(self, key, value, layer, *_args, **_kwargs):
        self.seen[layer, "k"], self.seen[layer, "v"] = key, value
        return key, value

    def get_seq_length(self, *_args):
        return 0

    def get_query_offset(self, *_args):
        return 0

    def get_mask_sizes(self, length, _layer):
        return length, 0


def calibrated(folder, checkpoint, packed, **settings):
    """Scales of all four layers, by a job in `folder`, which may hold finished shards."""
    inputs, outputs = {"model": checkpoint, "data": checkpoint}, ["checkpoint", "history"]
    job = read_job(write_job(folder / "job", "calibrate-kv", inputs, outputs, {}))
    if (folder / "shards").is_dir():
        shutil.copytree(folder / "shards", folder / "job" / "shards")
    budget = Budget.of_job(job)
    with torch.no_grad(), Parent(folder=checkpoint, budget_bytes=budget.weights) as parent:
        source = Source(parent=parent, packed=packed, layers=range(4), budget=budget)
        return calibrate(job, source, **settings)


def test_max_percentile_and_mse_equal_plain_statistics(checkpoint, documents, tmp_path):
    values = cached_values(checkpoint, documents)
    packed = pack(documents, 64)
    biggest = calibrated(tmp_path / "max", checkpoint, packed)
    ninety_percent = {"method": "percentile", "percentile": 90.0}
    percentile = calibrated(tmp_path / "percentile", checkpoint, packed, **ninety_percent)
    least = calibrated(tmp_path / "mse", checkpoint, packed, method="mse")
    assert set(biggest.scales) == {(layer, name) for layer in range(4) for name in "kv"}
    for tensor, x in values.items():
        amax = float(x.abs().max())
        assert biggest.maxima.amax[tensor] == pytest.approx(amax, rel=1e-5)
        assert biggest.scales[tensor] == pytest.approx(amax / 448, rel=1e-5)
        ninety = float(x.abs().double().quantile(0.9))
        assert percentile.scales[tensor] * 448 == pytest.approx(ninety, abs=2 * amax / 1000)
        errors = [
            float((fake_fp8(x, f * amax / FP8_MAX) - x).double().square().sum()) for f in FRACTIONS
        ]
        chosen = float((fake_fp8(x, least.scales[tensor]) - x).double().square().sum())
        assert chosen <= min(errors) * 1.001
        assert chosen <= float((fake_fp8(x, biggest.scales[tensor]) - x).double().square().sum())


@pytest.mark.parametrize("method", ["max", "percentile", "mse"])
def test_scales_do_not_depend_on_how_the_data_is_cut(
    checkpoint, documents, monkeypatch, tmp_path, method
):
    packed = pack(documents, 64)
    whole = calibrated(tmp_path / "whole", checkpoint, packed, method=method)
    monkeypatch.setattr(units, "TOKENS_PER_UNIT", 64)
    monkeypatch.setattr(units, "UNITS_PER_SHARD", 3)
    split = calibrated(tmp_path / "split", checkpoint, packed, method=method)
    assert split.scales == pytest.approx(whole.scales, rel=1e-4)
    assert len(split.maxima.history[0, "k"]) > len(whole.maxima.history[0, "k"])
    history = split.maxima.history[2, "v"]
    assert history == sorted(history)
    assert history[-1] == split.maxima.amax[2, "v"]


def test_padding_counts_for_nothing(checkpoint, documents, tmp_path):
    tight = calibrated(tmp_path / "tight", checkpoint, pack(documents, 64))
    padded = calibrated(tmp_path / "padded", checkpoint, pack(documents, 128, pad_id=3))
    assert padded.scales == pytest.approx(tight.scales, rel=1e-5)


def test_a_stopped_calibration_goes_on_and_ends_the_same(
    checkpoint, documents, monkeypatch, tmp_path
):
    monkeypatch.setattr(units, "TOKENS_PER_UNIT", 64)
    monkeypatch.setattr(units, "UNITS_PER_SHARD", 4)
    packed = pack(documents, 64)
    whole = calibrated(tmp_path / "whole", checkpoint, packed)
    plain, seen = Maxima.of_unit, []

    def stop_in_the_second_shard(self, tensor, x):
        seen.append(tensor)
        if len(seen) > 40:
            raise KeyboardInterrupt
        return plain(self, tensor, x)

    monkeypatch.setattr(Maxima, "of_unit", stop_in_the_second_shard)
    with pytest.raises(KeyboardInterrupt):
        calibrated(tmp_path / "stopped", checkpoint, packed)
    finished = tmp_path / "stopped/job/shards"
    assert list((finished / "maxima").iterdir())
    seen.clear()
    shutil.copytree(finished, tmp_path / "again/shards")
    monkeypatch.setattr(Maxima, "of_unit", lambda *args: seen.append(args[1]) or plain(*args))
    again = calibrated(tmp_path / "again", checkpoint, packed)
    assert again.scales == whole.scales
    assert again.maxima.history == whole.maxima.history
    assert len(seen) == sum(map(len, whole.maxima.history.values())) - 4 * 4 * 2  # not read again


def test_the_checkpoint_has_scalar_scales_under_the_published_names(checkpoint, data, tmp_path):
    done = run(tmp_path / "job", checkpoint, data)
    assert done.code == 0, done.last_event
    config = read_config(done.out("checkpoint"))
    assert config["quantization_config"]["kv_cache_scheme"] == {
        "num_bits": 8,
        "type": "float",
        "strategy": "tensor",
        "dynamic": False,
        "symmetric": True,
    }
    before = load_file(checkpoint / "model.safetensors")
    with safe_open(done.out("checkpoint") / "model.safetensors", framework="np") as file:
        added = set(file.keys()) - set(before)
        assert added == {f"model.layers.{i}.self_attn.{t}_scale" for i in range(4) for t in "kv"}
        for name in added:
            view = file.get_slice(name)
            assert (view.get_shape(), view.get_dtype()) == ([], "F32")
    after = load_file(done.out("checkpoint") / "model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)

    history = json.loads((done.out("history") / "history.json").read_text())
    assert history["schema"] == "fretsaw/kv-calibration/v1"
    assert history["data"] == f"sha256:{data.name}"
    for entry in history["tensors"]:
        stored = after[f"model.layers.{entry['layer']}.self_attn.{entry['tensor']}_scale"]
        assert entry["scale"] == float(stored)
        assert entry["amax"] == entry["amax_history"][-1] == pytest.approx(entry["scale"] * 448)


def test_the_written_checkpoint_loads_and_rounds_its_cache(checkpoint, data, tmp_path):
    done = run(tmp_path / "job", checkpoint, data)
    model = load_model(done.out("checkpoint"))
    stored = load_file(done.out("checkpoint") / "model.safetensors")
    for layer, module in enumerate(model.model.layers):
        expected = stored[f"model.layers.{layer}.self_attn.k_scale"]
        assert torch.equal(module.self_attn.k_scale, expected)
    ids = torch.randint(1, 40, (1, 40))
    with torch.no_grad():
        cache = model(ids, use_cache=True).past_key_values
        plain = load_model(checkpoint)(ids, use_cache=True).past_key_values
    key = cache.layers[0].keys
    assert torch.equal(key, fake_fp8(key, model.model.layers[0].self_attn.k_scale))
    assert not torch.equal(key, plain.layers[0].keys)


def test_the_written_checkpoint_loads_through_auto_model_too(checkpoint, data, tmp_path):
    done = run(tmp_path / "job", checkpoint, data)
    config_file = done.out("checkpoint") / "config.json"
    config = json.loads(config_file.read_text()) | {"model_type": "gpt_oss_puzzle"}
    config_file.write_text(json.dumps(config))
    auto, found = AutoModelForCausalLM.from_pretrained(
        done.out("checkpoint"),
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not any(found.values()), found
    ids = torch.randint(1, 40, (1, 40))
    with torch.no_grad():
        assert torch.equal(auto.eval()(ids).logits, load_model(done.out("checkpoint"))(ids).logits)


def test_scales_stay_float32_in_a_bfloat16_model(checkpoint, data, tmp_path):
    done = run(tmp_path / "job", checkpoint, data)
    model = load_model(done.out("checkpoint"), torch.bfloat16)
    scale = model.model.layers[1].self_attn.k_scale
    stored = load_file(done.out("checkpoint") / "model.safetensors")
    assert torch.equal(scale, stored["model.layers.1.self_attn.k_scale"])
    assert model.model.layers[1].self_attn.k_proj.weight.dtype == torch.bfloat16
    assert model(torch.arange(1, 20)[None]).logits.isfinite().all()


def test_windowed_layers_can_be_left_out(checkpoint, data, tmp_path):
    done = run(tmp_path / "job", checkpoint, data, skip_windowed=True)
    assert done.code == 0, done.last_event
    names = set(load_file(done.out("checkpoint") / "model.safetensors"))
    assert "model.layers.1.self_attn.k_scale" in names
    assert "model.layers.0.self_attn.k_scale" not in names
    config = read_config(done.out("checkpoint"))
    assert config["quantization_config"]["kv_cache_skip_layers"] == [0, 2]
    model = load_model(done.out("checkpoint"))
    quantised = [layer.self_attn.has_fp8_cache for layer in model.model.layers]
    assert quantised == [False, True, False, True]


def test_a_missing_scale_is_refused_when_loading(checkpoint, data, tmp_path):
    done = run(tmp_path / "job", checkpoint, data)
    folder = tmp_path / "cut"
    shutil.copytree(done.out("checkpoint"), folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.2.self_attn.v_scale"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(StageFailure, match=r"layers\.2\.self_attn\.v_scale is missing"):
        load_model(folder)


def test_a_scale_of_one_or_a_missing_one_fails_the_read_back(checkpoint, data, tmp_path):
    done = run(tmp_path / "job", checkpoint, data, scale=1.0)
    assert done.code == 0, done.last_event
    written = {(layer, name): 1.0 for layer in range(4) for name in "kv"}
    calibrate_kv.check_scales(done.out("checkpoint"), written, allow_one=True)
    with pytest.raises(StageFailure, match="was not calibrated"):
        calibrate_kv.check_scales(done.out("checkpoint"), written, allow_one=False)
    with pytest.raises(StageFailure, match="missing"):
        calibrate_kv.check_scales(checkpoint, written, allow_one=True)
    with pytest.raises(StageFailure, match="wrote 2.0"):
        calibrate_kv.check_scales(done.out("checkpoint"), written | {(1, "k"): 2.0}, allow_one=True)


def test_a_checkpoint_that_has_scales_is_not_calibrated_again(checkpoint, data, tmp_path):
    done = run(tmp_path / "once", checkpoint, data)
    again = run(tmp_path / "again", done.out("checkpoint"), data)
    assert (again.code, again.last_event["code"]) == (1, "BAD_INPUT")


def test_with_keys_600_times_as_large_scale_one_fails_and_calibration_does_not(
    checkpoint, documents, data, tmp_path
):
    """Only the product of Q and K counts, but K x 600 no longer fits e4m3 unscaled.

    Q is divided by 200 alone, so that attention is sharp enough to show where it looks.
    """
    big = tmp_path / "big"
    shutil.copytree(checkpoint, big)
    tensors = load_file(big / "model.safetensors")
    for name, factor in (("k_proj", 600.0), ("q_proj", 1 / 200.0)):
        for part in ("weight", "bias"):
            full = f"model.layers.1.self_attn.{name}.{part}"
            tensors[full] = (tensors[full].float() * factor).to(tensors[full].dtype)
    save_file(tensors, big / "model.safetensors", metadata={"format": "pt"})
    scaled = run(tmp_path / "scaled", big, data).out("checkpoint")
    unscaled = run(tmp_path / "unscaled", big, data, scale=1.0).out("checkpoint")
    ids = torch.tensor([document.ids[:5] for document in documents])
    ids = torch.cat([ids, ids.flip(1), ids.roll(2, 1)], dim=1)

    def after_layer_1(folder):
        model = load_model(folder)
        model.model.layers[0].self_attn.has_fp8_cache = False
        found = []
        attention = model.model.layers[1].self_attn
        hook = attention.register_forward_hook(lambda _m, _i, out: found.append(out[0]))
        with torch.no_grad():
            model(ids)
        hook.remove()
        return found[0]

    truth = after_layer_1(big)

    def error(folder):
        return float((after_layer_1(folder) - truth).norm() / truth.norm())

    assert error(scaled) < 0.1
    assert error(unscaled) > 0.35
