"""Where things are in a gpt-oss checkpoint: tensor names, shapes, and the modules that hold router
and experts.

Names are those of openai/gpt-oss (and so of nvidia/gpt-oss-puzzle): experts as MXFP4 `_blocks` and
`_scales` with a `_bias`, everything else bfloat16. Nothing is guessed: a tensor that
`tensor_shapes` does not list is an error for every reader, and so is one that it lists and a file
lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fretsaw_engine.moe.mxfp4 import GROUP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

SLIDING = "sliding_attention"
FULL = "full_attention"

EXPERT_PROJECTIONS = ("gate_up_proj", "down_proj")

QUANTIZATION = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}


def experts_prefix(layer: int) -> str:
    """`model.layers.<n>.mlp.experts.`: before every expert tensor's name; first axis = expert."""
    return f"model.layers.{layer}.mlp.experts."


def router_prefix(layer: int) -> str:
    """`model.layers.<n>.mlp.router.`: before `weight` [E, H] and `bias` [E]."""
    return f"model.layers.{layer}.mlp.router."


def attention_prefix(layer: int) -> str:
    return f"model.layers.{layer}.self_attn."


def is_expert_or_router(name: str) -> bool:
    """Whether a tensor (of a file or of a model) stays frozen in distillation and in RL."""
    return ".mlp.experts." in name or ".mlp.router." in name


def is_kv_scale(name: str) -> bool:
    return name.endswith((".self_attn.k_scale", ".self_attn.v_scale"))


def alternating_layer_types(layers: int) -> list[str]:
    """gpt-oss: even layers slide, odd layers attend to everything."""
    return [FULL if layer % 2 else SLIDING for layer in range(layers)]


def config_document(
    *,
    vocab_size: int,
    layers: int,
    hidden: int,
    intermediate: int,
    experts: int,
    experts_per_token: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    sliding_window: int,
    max_position_embeddings: int = 131072,
    rope_factor: float = 32.0,
) -> dict[str, Any]:
    """config.json of a gpt-oss of any size, in the form that openai/gpt-oss-120b has."""
    if hidden % GROUP or intermediate % GROUP:
        raise ValueError(f"hidden {hidden} and intermediate {intermediate}: multiples of {GROUP}")
    return {
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "dtype": "bfloat16",
        "eos_token_id": 6,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": intermediate,
        "layer_types": alternating_layer_types(layers),
        "max_position_embeddings": max_position_embeddings,
        "model_type": "gpt_oss",
        "num_attention_heads": heads,
        "num_experts_per_tok": experts_per_token,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "num_local_experts": experts,
        "output_router_logits": False,
        "pad_token_id": 0,
        "quantization_config": QUANTIZATION,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 150000.0,
            "factor": rope_factor,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 4096,
        },
        "router_aux_loss_coef": 0.9,
        "sliding_window": sliding_window,
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": vocab_size,
    }


def expert_counts(config: Mapping[str, Any]) -> list[int]:
    """Experts of every layer: from `block_configs` if the layers differ (gpt_oss_puzzle)."""
    if "block_configs" in config:
        return [block["num_local_experts"] for block in config["block_configs"]]
    return [config["num_local_experts"]] * config["num_hidden_layers"]


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a checkpoint with MXFP4 experts, in file order by layer."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden)
    }
    for layer, experts in enumerate(expert_counts(config)):
        attention = attention_prefix(layer)
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (hidden,)
        for name, rows, columns in (
            ("q_proj", queries, hidden),
            ("k_proj", keys, hidden),
            ("v_proj", keys, hidden),
            ("o_proj", hidden, queries),
        ):
            shapes[f"{attention}{name}.weight"] = (rows, columns)
            shapes[f"{attention}{name}.bias"] = (rows,)
        shapes[f"{attention}sinks"] = (config["num_attention_heads"],)
        shapes[f"model.layers.{layer}.post_attention_layernorm.weight"] = (hidden,)
        shapes[f"{router_prefix(layer)}weight"] = (experts, hidden)
        shapes[f"{router_prefix(layer)}bias"] = (experts,)
        for name, outputs, inputs in (
            ("gate_up_proj", 2 * intermediate, hidden),
            ("down_proj", hidden, intermediate),
        ):
            stem = experts_prefix(layer) + name
            shapes[f"{stem}_blocks"] = (experts, outputs, inputs // GROUP, GROUP // 2)
            shapes[f"{stem}_scales"] = (experts, outputs, inputs // GROUP)
            shapes[f"{stem}_bias"] = (experts, outputs)
    shapes["model.norm.weight"] = (hidden,)
    shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


def decoder_layers(model: nn.Module) -> Sequence[Any]:
    """The decoder layers of a GptOssForCausalLM (or of the puzzle's)."""
    return model.model.layers  # type: ignore[return-value, union-attr]


def router_modules(model: nn.Module) -> list[Any]:
    """The GptOssTopKRouter of every layer; its forward gives (logits, scores, indices)."""
    return [layer.mlp.router for layer in decoder_layers(model)]


def expert_modules(model: nn.Module) -> list[Any]:
    """The GptOssExperts of every layer."""
    return [layer.mlp.experts for layer in decoder_layers(model)]


def attention_modules(model: nn.Module) -> list[Any]:
    """The GptOssAttention of every layer."""
    return [layer.self_attn for layer in decoder_layers(model)]
