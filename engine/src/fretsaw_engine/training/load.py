"""Models that are built empty, sharded, and only then filled, each rank reading its own rows.

A model of 117 billion parameters in float32 is 468 GB: no rank may hold it whole, not even for the
moment before sharding. So parameters begin on the meta device, `fully_shard` cuts them, and a rank
then reads from the files the rows that it keeps. Experts are cut along their first axis, so a rank
decodes its own experts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from accelerate import init_empty_weights
from torch import nn

from fretsaw_engine.moe import mxfp4
from fretsaw_engine.moe.checkpoint import (
    build_model,
    check_tensors,
    load_model,
    open_tensors,
    read_config,
)
from fretsaw_engine.moe.gpt_oss import decoder_layers
from fretsaw_engine.training import attention, distributed
from fretsaw_engine.training.frozen import freeze_experts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fretsaw_engine.moe.checkpoint import Tensors


def load_trainable(folder: Path) -> Any:
    """A causal language model to train: router and experts frozen, sharded where there are several
    processes or a GPU. On CUDA what is frozen has bfloat16 and attention is flex_attention."""
    config = read_config(folder)
    on_gpu = distributed.device().type == "cuda"
    model = build_empty(config)
    freeze_experts(model)
    if on_gpu:
        for layer in decoder_layers(model):
            cast_parameters(layer.mlp, torch.bfloat16)
        model.set_attn_implementation(attention.NAME)
    shard_model(model)
    with open_tensors(folder) as tensors:
        fill(dict(model.named_parameters()), config, tensors)
    return model


def load_frozen(folder: Path) -> Any:
    """A causal language model to compare with, sharded in the same way."""
    model = load_trainable(folder) if distributed.is_sharded() else load_model(folder)
    return model.eval().requires_grad_(False)


def shard_model(model: Any) -> None:
    """Shard an empty model by its layers, and give it storage."""
    distributed.shard(model, decoder_layers(model))
    model._is_distributed_loading_by_transformers = distributed.is_sharded()  # see distributed.py
    give_storage(model, distributed.device())


def build_empty(config: Mapping[str, Any], frozen_dtype: torch.dtype | None = None) -> Any:
    """A model without storage. `frozen_dtype`: of all parameters, if they will not be trained."""
    with init_empty_weights(include_buffers=False):
        model = build_model(config)
    return model if frozen_dtype is None else cast_parameters(model, frozen_dtype)


def cast_parameters(model: nn.Module, dtype: torch.dtype) -> Any:
    """Change the dtype of parameters and leave buffers (rotary frequencies) in theirs."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            cast = nn.Parameter(parameter.detach().to(dtype), requires_grad=parameter.requires_grad)
            module.register_parameter(name, cast)
    return model


def give_storage(model: nn.Module, device: torch.device) -> None:
    """Storage for every parameter on the meta device; buffers move with their values."""
    buffers = {name: buffer.to(device, copy=True) for name, buffer in model.named_buffers()}
    model.to_empty(device=device)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


def fill(
    parameters: Mapping[str, nn.Parameter], config: Mapping[str, Any], tensors: Tensors
) -> None:
    """Read this rank's rows of every parameter. Names are the checkpoint's, which is checked whole;
    expert tensors that `parameters` leaves out (looked up elsewhere) are not read. Experts go to
    the device as they lie in the file and are decoded there."""
    check_tensors(config, tensors)
    with torch.no_grad():
        for name, parameter in parameters.items():
            local = distributed.local_part(parameter)
            start = distributed.first_row(parameter)
            stop = start + local.shape[0]
            if f"{name}_blocks" in tensors:
                blocks = tensors.slice(f"{name}_blocks", start, stop)
                scales = tensors.slice(f"{name}_scales", start, stop)
                for row in range(stop - start):
                    one = blocks[row].to(local.device), scales[row].to(local.device)
                    local[row].copy_(mxfp4.decode_rows(*one).T)
            else:
                local.copy_(tensors.slice(name, start, stop))
