"""Teacher and student out of their files, with one copy of the experts from the first byte on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.distill.pair import STUDENT, TEACHER, Pair
from fretsaw_engine.moe.checkpoint import has_kv_scales, open_tensors, read_config
from fretsaw_engine.training import distributed
from fretsaw_engine.training.load import build_empty, cast_parameters, fill, give_storage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def load_pair(teacher: Path, student: Path, kept: Sequence[Sequence[int]], **settings: Any) -> Pair:
    """The pair, sharded and filled. What is frozen has bfloat16 on CUDA (experts are exact in it);
    what trains has float32. `settings` are those of Pair."""
    configs = {TEACHER: read_config(teacher), STUDENT: read_config(student)}
    for name, config in configs.items():
        if has_kv_scales(config):
            raise StageFailure("BAD_INPUT", f"the {name} has KV scales: calibrate what was trained")
    frozen = torch.bfloat16 if distributed.device().type == "cuda" else torch.float32
    models = {
        TEACHER: build_empty(configs[TEACHER], frozen),
        STUDENT: build_empty(configs[STUDENT]),
    }
    pair = Pair(models[TEACHER], models[STUDENT], kept, **settings)
    for layer in pair.layers:
        cast_parameters(layer.student.mlp.router, frozen)  # type: ignore[union-attr]
    distributed.shard(pair, pair.layers)
    give_storage(pair, distributed.device())
    for name, folder in ((TEACHER, teacher), (STUDENT, student)):
        with open_tensors(folder) as tensors:
            fill(dict(models[name].named_parameters()), configs[name], tensors)
    return pair
