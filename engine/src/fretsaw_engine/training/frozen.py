"""Router and experts do not move, in distillation and in RL: they are not trained, and that is
checked.

A checkpoint's experts are MXFP4 bytes that the pruned child shares with its parent. Training them
would mean quantising again; a bit that moved in memory would be lost in silence when the file's
bytes are written.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe.gpt_oss import is_expert_or_router
from fretsaw_engine.training.distributed import local_part

_CHECKED_AT_ONCE = 2**24
"""Elements: what is held beside a tensor is a few hundred MB."""

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


def freeze_experts(model: nn.Module) -> None:
    """Only what is neither router nor expert asks for gradients."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_expert_or_router(name))


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


class FrozenGuard:
    """Remembers a digest of this rank's frozen tensors; `check` fails with FROZEN_MOVED."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.digest = frozen_digest(model)

    def check(self, step: int) -> str:
        found = frozen_digest(self._model)
        if found != self.digest:
            names = [
                name for name, p in _frozen(self._model) if p.requires_grad or p.grad is not None
            ]
            raise StageFailure(
                "FROZEN_MOVED",
                f"step {step}: router or experts moved: digest {found}, expected {self.digest}",
                {
                    "step": step,
                    "expected": self.digest,
                    "found": found,
                    "with_gradient": names[:10],
                },
            )
        return found


def frozen_digest(model: nn.Module) -> str:
    """One digest of all router and expert tensors (this rank's part of them): sha256 over their
    names, shapes and checksums."""
    digest = hashlib.sha256()
    for name, parameter in _frozen(model):
        value = local_part(parameter).detach()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} {checksum(value)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def checksum(tensor: torch.Tensor) -> int:
    """Sum over all elements of their bits times an odd number that their place gives, modulo 2^64.

    One element that moved always shows: an odd number has no divisor in common with 2^64. It is
    worked out where the tensor lies, at the speed of memory; sha256 of a GPU's share of the experts
    would take seconds of the host.
    """
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.contiguous().reshape(-1).view(integers[tensor.element_size()])
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for start in range(0, len(bits), _CHECKED_AT_ONCE):
        part = bits[start : start + _CHECKED_AT_ONCE].to(torch.int64)
        place = torch.arange(start, start + len(part), device=tensor.device)
        place.mul_(-0x61C8864680B583EB)  # splitmix64's steps (Steele et al. 2014), wrapping
        place.bitwise_xor_(place >> 30).mul_(-0x40A7B892E31B1A47)
        place.bitwise_xor_(place >> 27).bitwise_or_(1)
        total += place.mul_(part).sum()
    return int(total)


def _frozen(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if is_expert_or_router(name))
