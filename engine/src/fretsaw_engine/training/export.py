"""The checkpoint that a training leaves: trained tensors from the model, router and experts from
the input's files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fretsaw_engine.moe.checkpoint import open_tensors, read_config, write_checkpoint
from fretsaw_engine.moe.gpt_oss import is_expert_or_router, is_kv_scale
from fretsaw_engine.training import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from fretsaw_engine.moe.checkpoint import Tensors


def export_checkpoint(folder: Path, source: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Write `source` again with other trained tensors. A collective: rank 0 writes, all ranks
    take part.

    `parameters` have the names of the checkpoint. What it does not list (frozen tensors, KV
    scales) is copied byte for byte; what it lists is written in the dtype that `source` has.
    """
    trained = {name: distributed.whole(p.detach()).cpu() for name, p in parameters.items()}
    if distributed.rank() == 0:
        with open_tensors(source) as tensors:
            write_checkpoint(folder, read_config(source), _tensors(tensors, trained), source)
    distributed.barrier()


def _tensors(
    source: Tensors, trained: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    for name in source.names():
        if name in trained:
            yield name, trained[name].to(source.get(name).dtype)
        elif is_expert_or_router(name) or is_kv_scale(name):
            yield name, source.get(name)
        else:
            raise RuntimeError(f"bug: {name} is neither trained nor frozen")
