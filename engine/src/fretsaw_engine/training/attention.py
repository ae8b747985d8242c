"""Attention of a training: by eager tensors or by flex_attention, over a whole row or over this
rank's part of one.

Registered with transformers under `NAME`; a model takes it by `config._attn_implementation`. Which
kernel runs is said by the mask: a BlockMask asks for flex_attention, a tensor for the eager
formula. A model that makes its masks itself makes BlockMasks. transformers' own flex_attention
cannot do sinks on the CPU, so this one is ours, and the tests hold it to the eager formula there.

A sink is a logit that takes part in the softmax and has no value (gpt-oss). With the log of the
sum of exponentials, lse, that flex_attention gives back, softmax with a sink s is the softmax
without it times exp(lse) / (exp(lse) + exp(s)) = sigmoid(lse - s).

Shape suffixes: B rows, H query heads, G KV heads, Q queries, K keys, X head_dim.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flex_attention_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

if TYPE_CHECKING:
    from fretsaw_engine.training.context import Context

NAME = "fretsaw_training"


def attend(
    module: Any,
    query_BHQX: torch.Tensor,
    key_BGKX: torch.Tensor,
    value_BGKX: torch.Tensor,
    attention_mask: Any,
    *,
    context: Context | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What transformers' attention classes call. Gives [B, Q, H, X]."""
    if context is not None:
        key_BGKX, value_BGKX = context.gather(key_BGKX), context.gather(value_BGKX)
    if not isinstance(attention_mask, BlockMask):
        return eager_attention_forward(
            module, query_BHQX, key_BGKX, value_BGKX, attention_mask, **kwargs
        )
    if kwargs.get("dropout"):
        raise ValueError("flex_attention has no dropout")
    run = _compiled() if query_BHQX.is_cuda else flex_attention
    # Rows under 128 tokens would be taken for decoding, whose kernel has no block for them.
    options: Any = {"kernel_options": {"BACKEND": "TRITON"}} if query_BHQX.is_cuda else {}
    output_BHQX, aux = run(
        query_BHQX,
        key_BGKX,
        value_BGKX,
        block_mask=attention_mask,
        scale=kwargs["scaling"],
        enable_gqa=True,
        return_aux=AuxRequest(lse=True),
        **options,
    )
    sink_H11 = kwargs["s_aux"].float().view(-1, 1, 1)
    lse_BHQ: Any = aux.lse
    share_BHQ1 = torch.sigmoid(lse_BHQ[..., None] - sink_H11)
    output_BHQX = (output_BHQX.float() * share_BHQ1).to(query_BHQX.dtype)
    return output_BHQX.transpose(1, 2).contiguous(), None


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention)


ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, flex_attention_mask)
