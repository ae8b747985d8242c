"""The child holds the parent's bytes, and the proof notices when it does not."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file
from stage_job import run_stage

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.assemble.child import kept_experts
from fretsaw_engine.methods.assemble.verify import PARTS, verify_experts
from fretsaw_engine.moe.checkpoint import load_model, open_tensors, read_config, write_checkpoint
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint
from fretsaw_engine.stages import assemble

torch.set_num_threads(1)

LAYERS = [(8, 4), (2, None), (5, 2), (3, 6)]
ORDERS = [
    [7, 6, 5, 4, 3, 2, 1, 0],
    [3, 1, 0, 2, 4, 5, 6, 7],
    [5, 0, 6, 2, 7, 1, 3, 4],
    list(range(8)),
]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent")
    write_nano_checkpoint(folder, seed=11)
    return folder


def architecture(folder, layers=LAYERS):
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "schema": "fretsaw/architecture/v1",
        "layers": [{"experts": experts, "window": window} for experts, window in layers],
    }
    (folder / "architecture.json").write_text(json.dumps(document))
    return folder


def ranking(folder, orders=ORDERS):
    folder.mkdir(parents=True, exist_ok=True)
    layers = [
        {"layer": i, "experts": [{"expert": e, "score": 0.5, "tokens": 1} for e in order]}
        for i, order in enumerate(orders)
    ]
    (folder / "ranking.json").write_text(json.dumps({"layers": layers}))
    return folder


def assembled(parent, folder, layers=LAYERS, **settings):
    inputs = {
        "model": parent,
        "architecture": architecture(folder / "architecture", layers),
        "ranking": ranking(folder / "ranking"),
    }
    return run_stage(assemble, folder / "job", inputs, ["checkpoint", "kept"], **settings)


def test_every_kept_experts_bytes_are_the_parents_and_all_else_is_unchanged(parent, tmp_path):
    done = assembled(parent, tmp_path)
    assert done.code == 0, done.last_event
    kept = json.loads((done.out("kept") / "kept.json").read_text())
    assert kept == {
        "schema": "fretsaw/kept-experts/v1",
        "layers": [list(range(8)), [1, 3], [0, 2, 5, 6, 7], [0, 1, 2]],
    }
    old = load_file(parent / "model.safetensors")
    new = load_file(done.out("checkpoint") / "model.safetensors")
    assert set(old) == set(new)
    for name, tensor in new.items():
        layer = int(name.split(".")[2]) if name.startswith("model.layers.") else None
        rows = kept["layers"][layer] if layer is not None and ".mlp." in name else slice(None)
        expected = old[name][rows]
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor.view(torch.uint8), expected.contiguous().view(torch.uint8)), name


def test_the_config_has_the_published_form_and_the_child_runs(parent, tmp_path):
    done = assembled(parent, tmp_path, rope={"factor": 56})
    config = read_config(done.out("checkpoint"))
    before = read_config(parent)
    assert config["model_type"] == "gpt_oss_puzzle"
    assert config["architectures"] == ["GptOssPuzzleForCausalLM"]
    assert config["block_configs"][2] == {"num_local_experts": 5, "sliding_window": 2}
    assert config["layer_types"] == [
        "sliding_attention",
        "full_attention",
        "sliding_attention",
        "sliding_attention",
    ]
    assert (config["sliding_window"], config["num_local_experts"]) == (4, 8)
    assert config["rope_parameters"] == before["rope_parameters"] | {"factor": 56}
    for asset in ("tokenizer.json", "generation_config.json", "chat_template.jinja"):
        expected = parent / asset
        assert not expected.exists() or (
            (done.out("checkpoint") / asset).read_bytes() == expected.read_bytes()
        )
    model = load_model(done.out("checkpoint"))
    with torch.no_grad():
        logits = model(torch.arange(1, 30)[None]).logits
    assert logits.isfinite().all()


@pytest.mark.parametrize("given", [None, {"eos_token_id": 6, "do_sample": True}])
def test_generation_stops_at_both_ends_of_a_turn_whatever_the_parent_says(parent, tmp_path, given):
    other = tmp_path / "other"
    shutil.copytree(parent, other)
    (other / "generation_config.json").unlink()
    if given is not None:
        (other / "generation_config.json").write_text(json.dumps(given))
    done = assembled(other, tmp_path / "job")
    written = json.loads((done.out("checkpoint") / "generation_config.json").read_text())
    names = json.loads((parent / "tokenizer.json").read_text())["added_tokens"]
    ids = {token["content"]: token["id"] for token in names}
    assert sorted(written.pop("eos_token_id")) == sorted([ids["<|return|>"], ids["<|call|>"]])
    assert written == {k: v for k, v in (given or {}).items() if k != "eos_token_id"}


def test_without_a_rope_setting_the_parents_scaling_stays(parent, tmp_path):
    done = assembled(parent, tmp_path)
    assert read_config(done.out("checkpoint"))["rope_parameters"]["factor"] == 32.0


def test_a_child_that_keeps_everything_computes_what_its_parent_does(parent, tmp_path):
    done = assembled(parent, tmp_path, [(8, 4), (8, None), (8, 4), (8, None)])
    ids = torch.randint(1, 40, (2, 50), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(
            load_model(done.out("checkpoint"))(ids).logits, load_model(parent)(ids).logits
        )


def test_random_removal_keeps_as_many_and_depends_on_the_seed_alone():
    kept = kept_experts(LAYERS, ORDERS, "random", 3)
    assert [len(experts) for experts in kept] == [8, 2, 5, 3]
    assert all(experts == sorted(set(experts)) for experts in kept)
    assert kept == kept_experts(LAYERS, [list(range(8))] * 4, "random", 3)
    assert kept != kept_experts(LAYERS, ORDERS, "random", 4)
    assert kept != kept_experts(LAYERS, ORDERS, "ranked", 3)


def test_assembling_twice_gives_the_same_bytes(parent, tmp_path):
    once, again = (assembled(parent, tmp_path / name) for name in ("a", "b"))
    for output in ("checkpoint", "kept"):
        files = sorted(path.name for path in once.out(output).iterdir())
        assert files == sorted(path.name for path in again.out(output).iterdir())
        for file in files:
            assert (once.out(output) / file).read_bytes() == (again.out(output) / file).read_bytes()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (LAYERS[:3], "3 layers, the parent has 4"),
        ([(1, 4), *LAYERS[1:]], "layer 0 keeps 1 experts, not 2 to 8"),
        ([(9, 4), *LAYERS[1:]], "layer 0 keeps 9 experts"),
        ([(8, None), *LAYERS[1:]], "layer 0 has window None, the parent 4"),
        ([(8, 5), *LAYERS[1:]], "layer 0 has window 5, the parent 4"),
        ([(8, 0), *LAYERS[1:]], "layer 0 has window 0"),
    ],
)
def test_an_architecture_that_the_parent_cannot_give_is_refused(parent, tmp_path, layers, message):
    done = assembled(parent, tmp_path, layers)
    assert (done.code, done.last_event["code"]) == (1, "BAD_INPUT")
    assert message in done.last_event["message"]


def test_the_proof_finds_the_map_from_the_files_of_sharded_checkpoints(parent, tmp_path):
    done = assembled(parent, tmp_path)
    kept = json.loads((done.out("kept") / "kept.json").read_text())["layers"]
    sharded = tmp_path / "sharded"
    with open_tensors(parent) as tensors:
        pairs = ((name, tensors.get(name)) for name in tensors.names())
        write_checkpoint(sharded, read_config(parent), pairs, parent, shard_bytes=20_000)
    assert len(list(sharded.glob("*.safetensors"))) > 3
    assert verify_experts(done.out("checkpoint"), sharded) == kept
    assert verify_experts(done.out("checkpoint"), sharded, kept) == kept


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("with_map", [True, False])
def test_one_changed_bit_names_layer_expert_and_tensor(parent, tmp_path, part, with_map):
    done = assembled(parent, tmp_path)
    kept = json.loads((done.out("kept") / "kept.json").read_text())["layers"]
    child = tmp_path / "changed"
    shutil.copytree(done.out("checkpoint"), child)
    flip_bit(child / "model.safetensors", f"model.layers.2.mlp.{part}", row=3)
    with pytest.raises(StageFailure, match="layer 2, expert 3 of the child") as found:
        verify_experts(child, parent, kept if with_map else None)
    assert found.value.code == "FROZEN_MOVED"
    assert part in found.value.message
    assert "parent's expert 6" in found.value.message
    assert found.value.details == {"layer": 2, "expert": 3}


def test_swapped_experts_and_a_wrong_map_are_noticed(parent, tmp_path):
    done = assembled(parent, tmp_path)
    kept = json.loads((done.out("kept") / "kept.json").read_text())["layers"]
    with pytest.raises(StageFailure, match="layer 1, expert 1 of the child"):
        verify_experts(done.out("checkpoint"), parent, [kept[0], [1, 4], *kept[2:]])
    with pytest.raises(StageFailure, match="the map keeps 3 experts, the child has 2"):
        verify_experts(done.out("checkpoint"), parent, [kept[0], [1, 3, 4], *kept[2:]])
    swapped = tmp_path / "swapped"
    backwards = [kept[0], kept[1][::-1], *kept[2:]]
    config = read_config(done.out("checkpoint"))
    with open_tensors(parent) as tensors:
        from fretsaw_engine.methods.assemble.child import child_tensors

        write_checkpoint(swapped, config, child_tensors(tensors, config, backwards), parent)
    with pytest.raises(StageFailure, match="expert 1 comes after 3"):
        verify_experts(swapped, parent)


def test_a_truncated_file_is_bad_input(parent, tmp_path):
    done = assembled(parent, tmp_path)
    child = tmp_path / "cut"
    shutil.copytree(done.out("checkpoint"), child)
    file = child / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StageFailure, match="not a whole safetensors file"):
        verify_experts(child, parent)


def flip_bit(path, name, row):
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + length])[name]
    start, end = entry["data_offsets"]
    width = (end - start) // entry["shape"][0]
    data[8 + length + start + row * width] ^= 1
    path.write_bytes(data)
