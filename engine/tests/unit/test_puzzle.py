"""The heterogeneous model against transformers' own."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.cache_utils import DynamicCache

from fretsaw_engine.moe import puzzle
from fretsaw_engine.moe.checkpoint import build_model
from fretsaw_engine.moe.gpt_oss import config_document

torch.set_num_threads(1)


def parent_config(**changes):
    sizes = {
        "vocab_size": 64,
        "layers": 4,
        "hidden": 32,
        "intermediate": 32,
        "experts": 8,
        "experts_per_token": 2,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 16,
        "sliding_window": 4,
    }
    return config_document(**(sizes | changes))


def puzzle_config(blocks, **changes):
    config = parent_config(layers=len(blocks), **changes)
    return config | {
        "model_type": "gpt_oss_puzzle",
        "architectures": ["GptOssPuzzleForCausalLM"],
        "block_configs": [
            {"num_local_experts": experts, "sliding_window": window} for experts, window in blocks
        ],
        "layer_types": puzzle.layer_types([window for _, window in blocks]),
    }


def randomise(model, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, 0.5 if "embed" in name else 0.2)
    return model.eval()


def twins():
    parent = randomise(build_model(parent_config()))
    child = build_model(puzzle_config([(8, 4), (8, None), (8, 4), (8, None)]))
    child.load_state_dict(parent.state_dict())
    return parent, child.eval()


def greedy(model, ids, new_tokens, **kwargs):
    return model.generate(
        ids, max_new_tokens=new_tokens, do_sample=False, eos_token_id=None, pad_token_id=0, **kwargs
    )


def test_with_all_experts_and_windows_the_logits_are_the_parents_bit_for_bit():
    parent, child = twins()
    ids = torch.randint(1, 64, (3, 40))
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    with torch.no_grad():
        assert torch.equal(parent(ids).logits, child(ids).logits)
        both = [model(ids, attention_mask=mask).logits for model in (parent, child)]
    assert torch.equal(*both)


def test_with_all_experts_and_windows_256_greedy_tokens_are_the_parents():
    parent, child = twins()
    ids = torch.randint(1, 64, (2, 11))
    expected = greedy(parent, ids, 256)
    assert len(set(expected[0, 11:].tolist())) > 3  # a loop over one token would prove little
    assert torch.equal(expected, greedy(child, ids, 256))


def test_generation_with_a_cache_equals_generation_without_when_every_layer_differs():
    model = randomise(build_model(puzzle_config([(8, 4), (2, 9), (5, 4), (3, None), (4, 6)])))
    ids = torch.randint(1, 64, (2, 13))
    cached = greedy(model, ids, 48)
    assert torch.equal(cached, greedy(model, ids, 48, use_cache=False))


def test_a_windowed_layer_does_not_see_beyond_its_window():
    model = randomise(build_model(puzzle_config([(8, 3), (4, 5)])))
    ids = torch.randint(1, 64, (1, 30))
    changed = ids.clone()
    changed[0, 10] = (changed[0, 10] + 1) % 64
    with torch.no_grad():
        difference = (model(ids).logits - model(changed).logits).abs().amax(-1)[0]
    reach = (3 - 1) + (5 - 1)
    assert difference[10 + reach] > 1e-3
    assert difference[10 + reach + 1 :].max() < 1e-5


def test_each_layers_cache_has_its_own_size():
    model = randomise(build_model(puzzle_config([(8, 4), (2, 9), (5, None)])))
    with torch.no_grad():
        cache = model(torch.randint(1, 64, (1, 20)), use_cache=True).past_key_values
    assert [layer.keys.shape[-2] for layer in cache.layers] == [3, 8, 20]
    fresh = DynamicCache(config=model.config)
    assert [layer.get_max_length() for layer in fresh.layers] == [4, 9, -1]


def test_packed_documents_do_not_see_each_other():
    model = randomise(build_model(puzzle_config([(8, 4), (4, None), (4, 6)])))
    first, second = torch.randint(1, 64, (1, 9)), torch.randint(1, 64, (1, 12))
    positions = torch.cat([torch.arange(9), torch.arange(12)])[None]
    with torch.no_grad():
        packed = model(torch.cat([first, second], 1), position_ids=positions).logits
        apart = torch.cat([model(first).logits, model(second).logits], 1)
    torch.testing.assert_close(packed, apart, rtol=1e-4, atol=1e-5)


def test_grouped_and_plain_expert_products_agree():
    model = randomise(build_model(puzzle_config([(8, 4), (3, None), (2, 4)])))
    assert model.config._experts_implementation == "grouped_mm"
    ids = torch.randint(1, 64, (2, 25))
    with torch.no_grad():
        grouped = model(ids).logits
        model.set_experts_implementation("eager")
        plain = model(ids).logits
    torch.testing.assert_close(grouped, plain, rtol=1e-4, atol=1e-5)
    assert model.model.layers[0].mlp.experts.config._experts_implementation == "eager"


def test_the_config_survives_a_file_and_plain_pretrained_config_reads_it(tmp_path):
    config = puzzle.GptOssPuzzleConfig(**puzzle_config([(8, 4), (2, 9), (5, None)]))
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, puzzle.GptOssPuzzleConfig)
    assert again.windows == [4, 9, None]
    plain = PreTrainedConfig.from_pretrained(tmp_path)
    assert (plain.sliding_window, plain.num_local_experts) == (4, 8)
    assert plain.block_configs[1] == {"num_local_experts": 2, "sliding_window": 9}


def test_auto_model_knows_the_class():
    config = puzzle.GptOssPuzzleConfig(**puzzle_config([(8, 4), (2, None)]))
    model = AutoModelForCausalLM.from_config(config)
    assert isinstance(model, puzzle.GptOssPuzzleForCausalLM)
    assert [layer.mlp.router.weight.shape[0] for layer in model.model.layers] == [8, 2]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda c: c["block_configs"].pop(),
        lambda c: c["block_configs"][0].pop("sliding_window"),
        lambda c: c["block_configs"][0].update(num_local_experts=0),
        lambda c: c["block_configs"][0].update(sliding_window=-1),
        lambda c: c["block_configs"][0].update(heads=1),
        lambda c: c["layer_types"].reverse(),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(break_it):
    config = copy.deepcopy(puzzle_config([(8, 4), (2, None)]))
    break_it(config)
    with pytest.raises(ValueError):
        puzzle.GptOssPuzzleConfig(**config)


def test_an_fp8_cache_changes_little_with_fair_scales_and_much_with_unfair_ones():
    blocks = [(2, 4), (2, None)]  # as many experts as a token takes: a small error moves no routing
    plain = randomise(build_model(puzzle_config(blocks)))
    config = puzzle_config(blocks)
    scheme = {"num_bits": 8, "type": "float"}
    config["quantization_config"] = config["quantization_config"] | {"kv_cache_scheme": scheme}
    quantised = build_model(config)
    quantised.load_state_dict(plain.state_dict(), strict=False)
    ids = torch.randint(1, 64, (2, 30))

    def error(scale):
        for layer in quantised.model.layers:
            layer.self_attn.k_scale.fill_(scale)
            layer.self_attn.v_scale.fill_(scale)
        with torch.no_grad():
            return (quantised(ids).logits - plain(ids).logits).pow(2).mean().sqrt().item()

    fair, unfair = error(0.01), error(1e-4)
    assert 0 < fair < unfair / 10
    with torch.no_grad():
        cached = greedy(quantised, ids, 20)
        assert torch.equal(cached, greedy(quantised, ids, 20, use_cache=False))


def test_fp8_saturates_and_never_gives_nan():
    x = torch.tensor([0.0, 1e-9, 447.0, 448.0, 1e6, -1e6])
    assert puzzle.fake_fp8(x, 1.0).tolist() == [0.0, 0.0, 448.0, 448.0, 448.0, -448.0]
    once = puzzle.fake_fp8(torch.randn(1000), 0.013)
    assert torch.equal(puzzle.fake_fp8(once, 0.013), once)


@pytest.mark.parametrize("order", ["engine-first", "transformers-first"])
def test_importing_the_engine_is_enough_for_auto_model(tmp_path, order):
    """In a process of its own: nothing else may have registered the class."""
    config = puzzle_config([(8, 4), (2, None)])
    (tmp_path / "config.json").write_text(json.dumps(config))
    first, second = "import fretsaw_engine", "from transformers import AutoModelForCausalLM"
    lines = [first, second] if order == "engine-first" else [second, first]
    lines += [
        "from transformers import AutoConfig",
        f"config = AutoConfig.from_pretrained({str(tmp_path)!r})",
        "print(type(AutoModelForCausalLM.from_config(config)).__name__)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout.strip() == "GptOssPuzzleForCausalLM", done.stderr[-2000:]


def test_importing_the_engine_alone_does_not_import_transformers():
    code = "import fretsaw_engine, sys; print('transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "False"


def test_there_is_one_mask_for_every_distinct_window():
    model = randomise(build_model(puzzle_config([(8, 4), (8, 9), (8, 4), (8, None), (8, 9)])))
    masks = puzzle.window_masks(model.config, torch.zeros(1, 12, 32))
    assert list(masks) == [4, 9, None]
    seen = {window: int((mask == 0).sum(-1).max()) for window, mask in masks.items()}
    assert seen == {4: 4, 9: 9, None: 12}
