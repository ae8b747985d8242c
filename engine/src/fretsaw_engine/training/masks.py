"""Attention of packed rows: causal, inside one document, inside a layer's window.

Eager attention wants additive tensors, flex_attention block masks. Eager attention holds [heads, T,
T] scores: at 131,072 tokens and 64 heads that is 4.4 TB in float32 a layer, so it is refused above
`EAGER_MAX`.

Shape suffixes: B rows, Q queries, K keys (all tokens of a row where it is not cut).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fretsaw_engine.training.context import Context

EAGER_MAX = 8192
"""Longest row, in tokens, that eager attention may have."""

Masks = dict[int | None, Any]
"""Window (None: attends to everything) -> additive mask [B, 1, Q, K] or BlockMask."""


def window_masks(
    windows: Sequence[int | None],
    document_ids_BT: torch.Tensor,
    *,
    flex: bool,
    context: Context | None = None,
    dtype: torch.dtype = torch.float32,
) -> Masks:
    """One mask for every distinct window. `document_ids_BT` are those of whole rows, always."""
    length = document_ids_BT.shape[1]
    if not flex and length > EAGER_MAX:
        raise StageFailure(
            "BAD_INPUT",
            f"eager attention over {length} tokens: above {EAGER_MAX} flex_attention is needed, "
            "which runs on CUDA",
        )
    device = document_ids_BT.device
    whole = torch.arange(length, device=device)
    query_at = whole if context is None else context.mine(length).to(device)
    key_at = whole if context is None else context.order(length).to(device)
    build = _block_mask if flex else _additive_mask
    return {
        window: build(document_ids_BT, query_at, key_at, window, dtype)
        for window in dict.fromkeys(windows)
    }


def _additive_mask(
    document_ids_BT: torch.Tensor,
    query_at: torch.Tensor,
    key_at: torch.Tensor,
    window: int | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    distance_QK = query_at[:, None] - key_at[None, :]
    near_QK = distance_QK >= 0
    if window is not None:
        near_QK &= distance_QK < window
    same_BQK = document_ids_BT[:, query_at, None] == document_ids_BT[:, None, key_at]
    mask_BQK = torch.zeros(same_BQK.shape, dtype=dtype, device=document_ids_BT.device)
    return mask_BQK.masked_fill_(~(same_BQK & near_QK), torch.finfo(dtype).min)[:, None]


def _block_mask(
    document_ids_BT: torch.Tensor,
    query_at: torch.Tensor,
    key_at: torch.Tensor,
    window: int | None,
    dtype: torch.dtype,
) -> Any:
    def may_attend(b: Any, h: Any, q: Any, k: Any) -> Any:
        at, of = query_at[q], key_at[k]
        same = document_ids_BT[b, at] == document_ids_BT[b, of]
        near = (at >= of) if window is None else (at >= of) & (at - of < window)
        return same & near

    create = _block_mask_maker(compiled=document_ids_BT.is_cuda)
    return create(
        may_attend,
        len(document_ids_BT),
        None,
        len(query_at),
        len(key_at),
        device=str(document_ids_BT.device),
    )


@cache
def _block_mask_maker(*, compiled: bool) -> Any:
    """Uncompiled it evaluates all pairs at once: 16 GiB a row at 131,072 tokens."""
    from torch.nn.attention.flex_attention import create_block_mask

    return torch.compile(create_block_mask) if compiled else create_block_mask
