"""One process or many: sharding by torch's `fully_shard`, done before the Trainer sees the model.

Measured: on CPU accelerate does not take FSDP and trains with DDP without a word. So the model is
sharded here and every parameter is proved to be a DTensor. The module that is given to the Trainer
has `is_distributed_loading_by_transformers`, which transformers sets on models that it sharded at
load time: placement and gradient reduction are then the model's own business.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from fretsaw_engine.job import StageFailure
from fretsaw_engine.training.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

T = TypeVar("T")


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def device() -> torch.device:
    """This process's accelerator, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def is_sharded() -> bool:
    """Whether parameters are DTensors: always but on one CPU process. One GPU is sharded over
    itself, so that mixed precision has one form everywhere."""
    return world_size() > 1 or torch.cuda.is_available()


def start() -> None:
    """Join the process group that torchrun describes. One GPU is a group by itself; one CPU process
    needs none."""
    if dist.is_initialized() or not is_sharded():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    if world_size() > 1:
        dist.init_process_group(backend)
    else:
        store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)


def shard(model: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Shard `model` over all ranks, one unit for each of `layers` and one for the rest.

    On CUDA a unit is gathered in bfloat16, and gradients are reduced in float32.
    """
    if not is_sharded():
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device().type, (world_size(),))
    on_gpu = device().type == "cuda"
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if on_gpu else None,
        reduce_dtype=torch.float32 if on_gpu else None,
        cast_forward_inputs=False,  # an additive mask in float32 overflows bfloat16
    )
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    assert_sharded(model)


def assert_sharded(model: nn.Module) -> None:
    """Under more than one process every parameter must be a DTensor: accelerate would train whole
    ones with DDP without a word."""
    from torch.distributed.tensor import DTensor

    whole = [name for name, p in model.named_parameters() if not isinstance(p, DTensor)]
    if is_sharded() and whole:
        raise RuntimeError(f"bug: not sharded under world size {world_size()}: {whole[:5]}")


@contextmanager
def whole_on_every_rank(model: nn.Module) -> Iterator[None]:
    """All of a sharded model gathered on each rank, so that ranks may call it as often as they like
    and at their own pace: answers have different lengths. A collective at both ends."""
    from torch.distributed.fsdp import FSDPModule

    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            # As fully_shard has it: the outermost unit is needed at once by the backward pass.
            unit.set_reshard_after_forward(unit is not model, recurse=False)


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
    """Rank 0's `value` on every rank (pickled on the wire, never in a file)."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=device())
    return box[0]


def from_all(values: list[Any]) -> list[Any]:
    """Every rank's `values`, in the order of the ranks, on every rank. A collective."""
    if world_size() == 1:
        return values
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, values)
    return [value for part in parts for value in part]


def made_by_first(make: Callable[[], T]) -> T:
    """What rank 0 makes, on every rank. A collective."""
    return from_first(make() if rank() == 0 else None)


def context(ranks: int) -> Context | None:
    """Groups of `ranks` neighbours that share a row; None for one. A collective."""
    if ranks == 1:
        return None
    if world_size() % ranks:
        raise StageFailure(
            "BAD_INPUT", f"context_parallel {ranks} does not divide {world_size()} processes"
        )
    groups = [
        dist.new_group(list(range(first, first + ranks))) for first in range(0, world_size(), ranks)
    ]
    return Context(ranks=ranks, index=rank() % ranks, group=groups[rank() // ranks])


def barrier() -> None:
    if world_size() > 1:
        dist.barrier()
