"""One process or many: sharding by torch's `fully_shard`, done before the Trainer sees the model.

Measured: on CPU accelerate does not take FSDP and trains with DDP without a word. So the model is
sharded here and every parameter is proved to be a DTensor. The module that is given to the Trainer
has `is_distributed_loading_by_transformers`, which transformers sets on models that it sharded at
load time: placement and gradient reduction are then the model's own business.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def device() -> torch.device:
    """This process's accelerator, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def start() -> None:
    """Join the process group that torchrun describes; nothing to do for one process."""
    if world_size() > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        if torch.cuda.is_available():
            torch.cuda.set_device(device())


def shard(model: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Shard `model` over all ranks, one unit for each of `layers` and one for the rest."""
    if world_size() == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh(device().type, (world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    whole = [name for name, p in model.named_parameters() if not isinstance(p, DTensor)]
    if whole:
        raise RuntimeError(f"bug: not sharded under world size {world_size()}: {whole[:5]}")


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a sharded tensor; the tensor itself if it is whole."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor  # type: ignore[operator]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor. A collective: every rank must call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # type: ignore[operator]


def first_row(tensor: torch.Tensor) -> int:
    """Index in the whole tensor's first axis at which this rank's part begins."""
    if not hasattr(tensor, "to_local"):
        return 0
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    placed: Any = tensor
    _, offset = compute_local_shape_and_global_offset(
        placed.shape, placed.device_mesh, placed.placements
    )
    return int(offset[0])


def sum_over_ranks(value: float) -> float:
    """Sum of a number over all ranks."""
    if world_size() == 1:
        return value
    total = torch.tensor([value], dtype=torch.float64, device=device())
    dist.all_reduce(total)
    return float(total.item())


def any_rank(flag: bool) -> bool:
    """True everywhere if it is true anywhere: so that all ranks stop at one step."""
    return flag if world_size() == 1 else sum_over_ranks(float(flag)) > 0


def from_first(value: Any) -> Any:
    """Rank 0's `value` on every rank (JSON-like values only)."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=device())
    return box[0]


def barrier() -> None:
    if world_size() > 1:
        dist.barrier()
