"""What an export needs to know about a model: geometry, tables and weights, all as numpy arrays.

Shape suffixes: D hidden size, Q query heads x head size, K key heads x head size, I intermediate
size, E experts of the layer, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe.gpt_oss import decoder_layers
from fretsaw_engine.moe.puzzle import layer_windows

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class KvScales:
    """One float32 scale each for what enters the cache in e4m3."""

    key: float
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerWeights:
    """One decoder layer. Matrices are laid out to be multiplied from the right: x @ w."""

    window: int | None
    experts: int
    input_norm_D: Array
    qkv_weight_DX: Array
    qkv_bias_X: Array
    sinks: Array
    output_weight_QD: Array
    output_bias_D: Array
    post_norm_D: Array
    router_weight_DE: Array
    router_bias_E: Array
    gate_up_weight_EXD: Array
    gate_up_bias_EX: Array
    down_weight_EDI: Array
    down_bias_ED: Array
    kv_scales: KvScales | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportModel:
    """A whole model. `inverse_frequencies` and `rope_scaling` are what transformers computed
    from the RoPE parameters (YaRN: cos and sin are multiplied by `rope_scaling`).
    """

    heads: int
    kv_heads: int
    head_dim: int
    hidden_size: int
    vocab_size: int
    experts_per_token: int
    norm_epsilon: float
    swiglu_alpha: float
    swiglu_limit: float
    inverse_frequencies: Array
    rope_scaling: float
    embedding_VD: Array
    final_norm_D: Array
    head_DV: Array
    layers: tuple[LayerWeights, ...]

    @property
    def windows(self) -> list[int | None]:
        """The distinct windows in order of first use; None sees everything."""
        return list(dict.fromkeys(layer.window for layer in self.layers))


def read_export_model(model: Any, kv: str) -> ExportModel:
    """Take a GptOssForCausalLM or GptOssPuzzleForCausalLM apart. `kv` is `float` or `fp8`."""
    config = model.config
    rotary = model.model.rotary_emb
    windows = layer_windows(config)
    return ExportModel(
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        experts_per_token=config.num_experts_per_tok,
        norm_epsilon=config.rms_norm_eps,
        swiglu_alpha=config.swiglu_alpha,
        swiglu_limit=config.swiglu_limit,
        inverse_frequencies=_array(rotary.inv_freq),
        rope_scaling=float(rotary.attention_scaling),
        embedding_VD=_array(model.model.embed_tokens.weight),
        final_norm_D=_array(model.model.norm.weight),
        head_DV=_array(model.lm_head.weight).T,
        layers=tuple(
            _layer(layer, windows[index], kv) for index, layer in enumerate(decoder_layers(model))
        ),
    )


def _layer(layer: Any, window: int | None, kv: str) -> LayerWeights:
    attention, router, experts = layer.self_attn, layer.mlp.router, layer.mlp.experts
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    gate_up_EDX = _array(experts.gate_up_proj)
    return LayerWeights(
        window=window,
        experts=gate_up_EDX.shape[0],
        input_norm_D=_array(layer.input_layernorm.weight),
        qkv_weight_DX=np.concatenate([_array(p.weight) for p in projections]).T,
        qkv_bias_X=np.concatenate([_array(p.bias) for p in projections]),
        sinks=_array(attention.sinks),
        output_weight_QD=_array(attention.o_proj.weight).T,
        output_bias_D=_array(attention.o_proj.bias),
        post_norm_D=_array(layer.post_attention_layernorm.weight),
        router_weight_DE=_array(router.weight).T,
        router_bias_E=_array(router.bias),
        gate_up_weight_EXD=gate_up_EDX.transpose(0, 2, 1),
        gate_up_bias_EX=_array(experts.gate_up_proj_bias),
        down_weight_EDI=_array(experts.down_proj).transpose(0, 2, 1),
        down_bias_ED=_array(experts.down_proj_bias),
        kv_scales=_kv_scales(attention) if kv == "fp8" else None,
    )


def _kv_scales(attention: Any) -> KvScales:
    """The layer's calibrated scales. A checkpoint without them is refused: 1.0 must be asked for
    by calibration.
    """
    if not getattr(attention, "has_fp8_cache", False):
        raise StageFailure(
            "BAD_INPUT", "kv: fp8 needs a checkpoint with k_scale and v_scale (kind calibrate-kv)"
        )
    return KvScales(key=float(attention.k_scale), value=float(attention.v_scale))


def _array(tensor: torch.Tensor) -> Array:
    return tensor.detach().float().numpy()
