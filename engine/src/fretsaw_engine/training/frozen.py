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
    """sha256 over names and bytes of all router and expert tensors (this rank's part of them)."""
    digest = hashlib.sha256()
    for name, parameter in _frozen(model):
        value = local_part(parameter).detach().contiguous().cpu()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def _frozen(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if is_expert_or_router(name))
