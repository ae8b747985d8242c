"""Checkpoints: written by one function, read strictly, equal to transformers' own reading."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe import gpt_oss
from fretsaw_engine.moe.checkpoint import (
    checkpoint_tensors,
    load_model,
    load_tokenizer,
    open_tensors,
    read_config,
    write_checkpoint,
)
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    folder = tmp_path / "nano"
    write_nano_checkpoint(folder, 3)
    return folder


def _same_files(left: Path, right: Path) -> bool:
    names = sorted(p.name for p in left.iterdir())
    return names == sorted(p.name for p in right.iterdir()) and all(
        (left / name).read_bytes() == (right / name).read_bytes() for name in names
    )


def test_equal_seeds_give_equal_bytes(nano: Path, tmp_path: Path) -> None:
    write_nano_checkpoint(tmp_path / "again", 3)
    write_nano_checkpoint(tmp_path / "other", 4)
    assert _same_files(nano, tmp_path / "again")
    assert not _same_files(nano, tmp_path / "other")


def test_transformers_reads_the_same_model(nano: Path) -> None:
    from transformers import AutoTokenizer, GptOssForCausalLM, Mxfp4Config

    theirs = GptOssForCausalLM.from_pretrained(
        nano, quantization_config=Mxfp4Config(dequantize=True), attn_implementation="eager"
    ).float()
    ours = load_model(nano, experts_implementation="eager")
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert AutoTokenizer.from_pretrained(nano).get_vocab() == load_tokenizer(nano).get_vocab()


def test_loading_and_writing_gives_the_same_bytes(nano: Path, tmp_path: Path) -> None:
    model = load_model(nano)
    with open_tensors(nano) as parent:
        write_checkpoint(
            tmp_path / "copy", read_config(nano), checkpoint_tensors(model, parent), nano
        )
    assert _same_files(nano, tmp_path / "copy")


def test_shards_read_like_one_file(nano: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    with open_tensors(nano) as parent:
        tensors = ((name, parent.get(name)) for name in parent.names())
        write_checkpoint(folder, read_config(nano), tensors, nano, shard_bytes=20_000)
    assert len(list(folder.glob("model-*.safetensors"))) > 3
    with open_tensors(nano) as one, open_tensors(folder) as many:
        assert one.names() == many.names()
        assert all(torch.equal(one.get(n), many.get(n)) for n in one.names())
        name = "model.layers.2.mlp.experts.down_proj_blocks"
        assert torch.equal(many.rows(name, [5, 0]), one.get(name)[[5, 0]])
    a, b = load_model(nano), load_model(folder)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_one_wrong_tensor_is_refused(nano: Path, change: str) -> None:
    tensors = load_file(nano / "model.safetensors")
    name = "model.layers.1.mlp.experts.gate_up_proj_scales"
    if change == "missing":
        del tensors[name]
    elif change == "unexpected":
        tensors["model.layers.1.mlp.experts.gate_up_proj"] = torch.zeros(2)
    else:
        tensors["model.norm.weight"] = torch.zeros(31)
    save_file(tensors, nano / "model.safetensors")
    with pytest.raises(StageFailure, match="gate_up_proj|model.norm.weight") as caught:
        load_model(nano)
    assert caught.value.code == "BAD_INPUT"


def test_truncated_absent_and_foreign_files_are_refused(nano: Path) -> None:
    whole = (nano / "model.safetensors").read_bytes()
    (nano / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StageFailure, match="not a whole safetensors file"):
        load_model(nano)
    (nano / "model.safetensors").unlink()
    with pytest.raises(StageFailure, match=r"no model\.safetensors"):
        load_model(nano)
    (nano / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(StageFailure, match="llama"):
        load_model(nano)


def test_every_parameter_and_tensor_has_its_place(nano: Path) -> None:
    config = read_config(nano)
    with open_tensors(nano) as tensors:
        shapes = {name: tensors.shape(name) for name in tensors.names()}
    assert shapes == gpt_oss.tensor_shapes(config)
    frozen = {n for n in shapes if gpt_oss.is_expert_or_router(n)}
    assert len(frozen) == config["num_hidden_layers"] * 8


def test_the_writer_refuses_an_incomplete_checkpoint(nano: Path, tmp_path: Path) -> None:
    model = load_model(nano)
    some = list(checkpoint_tensors(model))[:-1]
    with pytest.raises(StageFailure, match="wrong tensors"):
        write_checkpoint(tmp_path / "bad", read_config(nano), some, nano)
