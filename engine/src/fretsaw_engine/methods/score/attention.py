"""Attention of gpt-oss in blocks of queries, so that a row of 128K tokens needs no T x T matrix.

softmax over the keys and one learned sink a head, which takes probability and gives nothing
(arXiv 2508.10925, section 2; transformers' `eager_attention_forward`). A query sees its own
document, itself and what lies before it, and of that the last `window` tokens.

Shape suffixes: B rows, T tokens, H heads, G key/value heads, X head_dim, Q queries of a block, S
keys a block can see.
"""

from __future__ import annotations

import torch

SCORE_BYTES = 2**27
"""Scores that are in memory at once, bytes (a block has 16 queries at least)."""


def attention(
    query_BHTX: torch.Tensor,
    key_BGTX: torch.Tensor,
    value_BGTX: torch.Tensor,
    sinks_H: torch.Tensor,
    document_ids_BT: torch.Tensor,
    window: int | None,
) -> torch.Tensor:
    """What every head reads, [B, T, H * X]."""
    rows, heads, length, _ = query_BHTX.shape
    block = SCORE_BYTES // (query_BHTX.element_size() * rows * heads * length)
    block = max(16, min(length, block))
    blocks = []
    for start in range(0, length, block):
        stop = min(start + block, length)
        first = 0 if window is None else max(0, start - window + 1)
        hidden_BQS = ~visible(document_ids_BT, window, (start, stop), (first, stop))
        blocks.append(
            _block(
                query_BHTX[:, :, start:stop],
                key_BGTX[:, :, first:stop],
                value_BGTX[:, :, first:stop],
                sinks_H,
                hidden_BQS,
            )
        )
    return torch.cat(blocks, dim=1)


def visible(
    document_ids_BT: torch.Tensor,
    window: int | None,
    queries: tuple[int, int],
    keys: tuple[int, int],
) -> torch.Tensor:
    """Bool [B, Q, S]: may the query see the key?"""
    device = document_ids_BT.device
    query_Q = torch.arange(*queries, device=device)
    key_S = torch.arange(*keys, device=device)
    distance_QS = query_Q[:, None] - key_S[None, :]
    near_QS = distance_QS >= 0
    if window is not None:
        near_QS = near_QS & (distance_QS < window)
    own_BQ = document_ids_BT[:, slice(*queries)]
    other_BS = document_ids_BT[:, slice(*keys)]
    return near_QS & (own_BQ[:, :, None] == other_BS[:, None, :])


def _block(
    query_BHQX: torch.Tensor,
    key_BGSX: torch.Tensor,
    value_BGSX: torch.Tensor,
    sinks_H: torch.Tensor,
    hidden_BQS: torch.Tensor,
) -> torch.Tensor:
    rows, heads, queries, head_dim = query_BHQX.shape
    groups = key_BGSX.shape[1]
    # Heads of one key/value head side by side as queries of it: no copy of keys for each head.
    shared = (rows, groups, heads // groups * queries, head_dim)
    scores = query_BHQX.reshape(shared) @ key_BGSX.transpose(2, 3) * head_dim**-0.5
    scores_BHQS = scores.view(rows, heads, queries, -1)
    scores_BHQS = scores_BHQS.masked_fill(hidden_BQS[:, None], float("-inf"))
    sinks = sinks_H.view(1, -1, 1, 1).expand(rows, -1, queries, 1)
    seen = torch.softmax(torch.cat((scores_BHQS, sinks), dim=-1), dim=-1)[..., :-1]
    read = seen.reshape(rows, groups, heads // groups * queries, -1) @ value_BGSX
    return read.view(rows, heads, queries, head_dim).transpose(1, 2).flatten(2)
