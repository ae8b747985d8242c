"""Attention of packed rows: causal, inside one document, inside a layer's window.

A model takes ready masks as a dict; GptOss names them by layer type, the puzzle model by window.
Eager attention wants additive tensors, flex_attention (CUDA: eager at 131,072 tokens would need
terabytes) block masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fretsaw_engine.data.packed import attention_mask
from fretsaw_engine.moe.gpt_oss import FULL, SLIDING
from fretsaw_engine.moe.puzzle import GptOssPuzzleConfig, layer_windows

if TYPE_CHECKING:
    import torch


def packed_masks(config: Any, document_ids_BT: torch.Tensor) -> dict[Any, Any]:
    """Masks for a GptOssConfig or a GptOssPuzzleConfig, one for each distinct window."""
    windows = list(dict.fromkeys(layer_windows(config)))
    build = _block_mask if config._attn_implementation == "flex_attention" else attention_mask
    masks = {window: build(document_ids_BT, window) for window in windows}
    if isinstance(config, GptOssPuzzleConfig):
        return masks
    return {(FULL if window is None else SLIDING): mask for window, mask in masks.items()}


def _block_mask(document_ids_BT: torch.Tensor, window: int | None) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    rows, length = document_ids_BT.shape

    def may_attend(b: Any, h: Any, q: Any, k: Any) -> Any:
        same = document_ids_BT[b, q] == document_ids_BT[b, k]
        near = (q >= k) if window is None else (q >= k) & (q - k < window)
        return same & near

    return create_block_mask(
        may_attend, rows, None, length, length, device=str(document_ids_BT.device)
    )
