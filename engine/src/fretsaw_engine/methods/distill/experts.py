"""The experts of one layer, applied to the student's and the teacher's tokens in one grouped
product.

The student's experts are rows of the teacher's, so there is one stack of them. Tokens of both
models are laid end to end, the student's expert numbers are translated to the teacher's by the
kept-expert map, and one grouped product serves both: under `fully_shard` a layer's experts are
gathered once. They are frozen, so the backward pass has no gradient of weights, and it only touches
the student's tokens.

The forward pass does what transformers' `grouped_mm_experts_forward` does, operation by operation:
with the student's tokens alone it gives the same bits as a model that holds the kept rows itself.

Shape suffixes: T tokens (the student's first), K experts a token, S = T * K token-expert pairs in
the order of the experts, D hidden, I intermediate, E experts.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.integrations import moe

TOKENS_AT_ONCE = 65536
"""Tokens of both models whose [S, 2I] exists at once where activations are recomputed: 3 GB in
bfloat16 at gpt-oss-120b's size, of which the backward pass holds a few."""

NAMES = ("gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias")
"""Parameters of a GptOssExperts, first axis = expert."""


def frozen_experts(
    experts: Any,
    hidden_TD: torch.Tensor,
    index_TK: torch.Tensor,
    weight_TK: torch.Tensor,
    *,
    trained: int,
    recompute: bool = False,
) -> torch.Tensor:
    """What `experts` (a GptOssExperts) make of all tokens, [T, D].

    The first `trained` tokens carry gradients (of hidden states and routing weights), the others
    none. `recompute` keeps nothing of [S, 2I] between the passes and pays one product for it; more
    than `TOKENS_AT_ONCE` tokens then go in parts, each with its share of both models' tokens.
    """
    stacks = [getattr(experts, name) for name in NAMES]
    sizes = [trained, len(hidden_TD) - trained]
    parts = -(-len(hidden_TD) // TOKENS_AT_ONCE) if recompute else 1
    if parts == 1:
        return _FrozenExperts.apply(
            hidden_TD, weight_TK, index_TK, experts, trained, recompute, *stacks
        )
    cut = [
        [piece for half in tensor.split(sizes) for piece in half.tensor_split(parts)]
        for tensor in (hidden_TD, weight_TK, index_TK)
    ]
    results = []
    for part in range(parts):
        mine, theirs = part, parts + part
        given = [torch.cat((pieces[mine], pieces[theirs])) for pieces in cut]
        found = _FrozenExperts.apply(*given, experts, len(cut[0][mine]), True, *stacks)
        results.append(found.split([len(cut[0][mine]), len(cut[0][theirs])]))
    return torch.cat([piece for half in zip(*results, strict=True) for piece in half])


class _FrozenExperts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: torch.Tensor,
        weight_TK: torch.Tensor,
        index_TK: torch.Tensor,
        experts: Any,
        trained: int,
        recompute: bool,
        *stacks: torch.Tensor,
    ) -> torch.Tensor:
        up_EDI, up_bias_EI, down_EID, down_bias_ED = stacks
        many = index_TK.shape[1]
        expert_S, order_S = torch.sort(index_TK.reshape(-1), stable=True)
        token_S = order_S // many
        ends_E = _ends(expert_S, up_EDI.shape[0])
        up_SI = _product(hidden_TD[token_S], up_EDI, ends_E, up_bias_EI[expert_S])
        gated_SI = experts._apply_gate(up_SI)
        out_SD = _product(gated_SI, down_EID, ends_E, down_bias_ED[expert_S])
        weighted_SD = out_SD.mul_(weight_TK.reshape(-1)[order_S].unsqueeze(-1))
        result_TD = weighted_SD[_inverse(order_S)].view(-1, many, out_SD.shape[1]).sum(dim=1)

        mine_S = token_S < trained
        ctx.save_for_backward(
            hidden_TD[:trained] if recompute else up_SI[mine_S],
            weight_TK[:trained], expert_S[mine_S], order_S[mine_S], *stacks,
        )  # fmt: skip
        ctx.experts, ctx.recompute, ctx.tokens = experts, recompute, len(hidden_TD)
        return result_TD.to(hidden_TD.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved, weight_TK, expert_S, order_S, *stacks = ctx.saved_tensors
        up_EDI, up_bias_EI, down_EID, down_bias_ED = stacks
        trained, many = weight_TK.shape
        token_S = order_S // many
        ends_E = _ends(expert_S, up_EDI.shape[0])
        up_SI = saved
        if ctx.recompute:
            up_SI = _product(saved[token_S], up_EDI, ends_E, up_bias_EI[expert_S])
        with torch.enable_grad():
            up_SI = up_SI.detach().requires_grad_()
            gated_SI = ctx.experts._apply_gate(up_SI)
        grad_SD = grads[0][:trained][token_S]
        # d/dg of <grad, w (g W + b)>, before w: the routing weight's own gradient needs it bare.
        bare_SI = _product(grad_SD, down_EID.transpose(-2, -1), ends_E)
        grad_weight_S = (bare_SI * gated_SI.detach()).sum(-1)
        grad_weight_S += (grad_SD * down_bias_ED[expert_S]).sum(-1)
        weight_S = weight_TK.reshape(-1)[order_S].unsqueeze(-1)
        (grad_up_SI,) = torch.autograd.grad(gated_SI, up_SI, bare_SI * weight_S)
        grad_in_SD = _product(grad_up_SI, up_EDI.transpose(-2, -1), ends_E)

        back_S = _inverse(order_S)  # the student's pairs come first: they are numbered without gaps
        grad_weight_TK = weight_TK.new_zeros(ctx.tokens, many)
        grad_weight_TK[:trained] = grad_weight_S.to(weight_TK.dtype)[back_S].view(trained, many)
        grad_TD = grads[0].new_zeros(ctx.tokens, grad_in_SD.shape[1])
        grad_TD[:trained] = grad_in_SD[back_S].view(trained, many, -1).sum(dim=1)
        return grad_TD, grad_weight_TK, *(None,) * (4 + len(NAMES))


def _inverse(order_S: torch.Tensor) -> torch.Tensor:
    """Where each pair went. By sorting: a scattered write would be slow on CUDA where kernels are
    deterministic."""
    return torch.argsort(order_S)


def _ends(expert_S: torch.Tensor, experts: int) -> torch.Tensor:
    """Where each expert's pairs end, [E] int32. Counted as transformers counts, which has a
    deterministic kernel on every device."""
    counted = expert_S.float() if expert_S.device.type == "cpu" else expert_S.int()
    count_E = torch.histc(counted, bins=experts, min=0, max=experts - 1)
    return torch.cumsum(count_E, dim=0, dtype=torch.int32)


def _product(
    x_SA: torch.Tensor,
    w_EAB: torch.Tensor,
    ends_E: torch.Tensor,
    bias_SB: torch.Tensor | None = None,
) -> torch.Tensor:
    return moe._grouped_linear(x_SA, w_EAB, ends_E, bias=bias_SB, is_transposed=True)
