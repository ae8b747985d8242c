"""gpt-oss with layers that differ: `gpt_oss_puzzle`, as nvidia/gpt-oss-puzzle-88B is published.

The architecture is gpt-oss's own, built from transformers' classes. Two things vary by layer: how
many experts there are (and so how many rows the router has), and how far attention sees.
`block_configs` lists both; `layer_types` must say the same; global `sliding_window` and
`num_local_experts` stay the parent's, so that plain PreTrainedConfig reads the file.

Two things follow. There is one attention mask for every distinct window, not one for every layer
type. And every layer's cache has its own size, which transformers asks for through
`config.per_layer_config`.

A checkpoint with `quantization_config.kv_cache_scheme` keeps its KV cache in FP8 (e4m3). Here that
is simulated: K after RoPE and V are divided by the layer's scale, rounded to e4m3 and multiplied
again, which gives FP8's errors without its speed.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GptOssConfig
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_outputs import MoeModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gpt_oss.modeling_gpt_oss import (
    GptOssAttention,
    GptOssDecoderLayer,
    GptOssForCausalLM,
    GptOssModel,
    GptOssPreTrainedModel,
    GptOssRMSNorm,
    GptOssRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe.gpt_oss import FULL, SLIDING, attention_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from transformers.cache_utils import Cache

Masks = dict[int | None, torch.Tensor | None]
"""Window (None: attends to everything) -> additive mask [B, 1, Q, K]."""

FP8_MAX = 448.0
"""Largest finite e4m3fn value. Beyond it torch's cast gives NaN, an inference engine saturates: so
do we."""


class GptOssPuzzleConfig(GptOssConfig):
    """gpt-oss's config and `block_configs`: every layer's expert count and window.

    `kv_cache_scheme` and `kv_cache_skip_layers` are what `quantization_config` says of the cache.
    """

    model_type = "gpt_oss_puzzle"

    block_configs: list[dict[str, int | None]] | None = None
    kv_cache_scheme: dict[str, Any] | None = None
    kv_cache_skip_layers: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        given_types = self.layer_types
        quantization = kwargs.get("quantization_config") or {}
        self.kv_cache_scheme = self.kv_cache_scheme or quantization.get("kv_cache_scheme")
        self.kv_cache_skip_layers = self.kv_cache_skip_layers or quantization.get(
            "kv_cache_skip_layers"
        )
        super().__post_init__(**kwargs)
        if self.block_configs is None:
            self.block_configs = [
                {
                    "num_local_experts": self.num_local_experts,
                    "sliding_window": self.sliding_window if kind == SLIDING else None,
                }
                for kind in self.layer_types or []
            ]
        self.block_configs = [_block(i, block) for i, block in enumerate(self.block_configs)]
        if len(self.block_configs) != self.num_hidden_layers:
            raise ValueError(
                f"{len(self.block_configs)} block_configs for {self.num_hidden_layers} layers"
            )
        types = layer_types([block["sliding_window"] for block in self.block_configs])
        if given_types is not None and list(given_types) != types:
            raise ValueError(f"layer_types say {given_types}, block_configs say {types}")
        self.layer_types = types

    @property
    def windows(self) -> list[int | None]:
        """Window of every layer; None sees everything."""
        return [block["sliding_window"] for block in self.block_configs or []]

    @property
    def per_layer_config(self) -> Sequence[GptOssPuzzleConfig]:  # type: ignore[override]
        """A config for each layer. transformers sizes caches by their `sliding_window`."""
        return [self.layer_config(layer) for layer in range(self.num_hidden_layers)]

    @per_layer_config.setter
    def per_layer_config(self, value: object) -> None:
        if value is not None:
            raise ValueError("gpt_oss_puzzle: write block_configs, not per_layer_config")

    def layer_config(self, layer: int) -> GptOssPuzzleConfig:
        """This config as layer `layer` sees it."""
        result = copy.copy(self)
        block = (self.block_configs or [])[layer]
        result.sliding_window = block["sliding_window"]
        result.num_local_experts = block["num_local_experts"] or 0
        return result


def layer_types(windows: Sequence[int | None]) -> list[str]:
    return [FULL if window is None else SLIDING for window in windows]


def layer_windows(config: Any) -> list[int | None]:
    """Window of every layer of a GptOssConfig or a GptOssPuzzleConfig."""
    if isinstance(config, GptOssPuzzleConfig):
        return config.windows
    return [config.sliding_window if kind == SLIDING else None for kind in config.layer_types]


def fake_fp8(x: torch.Tensor, scale: torch.Tensor | float) -> torch.Tensor:
    """`x` as a cache in e4m3 with this scale gives it back: divide, saturate, round, multiply."""
    scaled = (x.float() / scale).clamp(-FP8_MAX, FP8_MAX)
    return (scaled.to(torch.float8_e4m3fn).float() * scale).to(x.dtype)


class GptOssPuzzleAttention(GptOssAttention):
    """GptOssAttention, with an FP8 cache where the checkpoint has one."""

    k_scale: torch.Tensor
    v_scale: torch.Tensor

    def __init__(self, config: GptOssPuzzleConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        skipped = config.kv_cache_skip_layers or []
        self.has_fp8_cache = config.kv_cache_scheme is not None and layer_idx not in skipped
        if self.has_fp8_cache:
            self.register_buffer("k_scale", torch.full((), float("nan"), dtype=torch.float32))
            self.register_buffer("v_scale", torch.full((), float("nan"), dtype=torch.float32))

    def _apply(self, fn: Any, recurse: bool = True) -> GptOssPuzzleAttention:
        """`model.to(bfloat16)` and the like: scales keep the float32 that they are stored in."""
        before = {name: self._buffers.get(name) for name in ("k_scale", "v_scale")}
        super()._apply(fn, recurse)
        for name, scale in before.items():
            moved = self._buffers.get(name)
            if scale is not None and moved is not None and moved.dtype != scale.dtype:
                self._buffers[name] = scale.to(moved.device)
        return self

    def cached(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K (after RoPE) and V as the cache will give them back."""
        if not self.has_fp8_cache:
            return key, value
        return fake_fp8(key, self.k_scale), fake_fp8(value, self.v_scale)

    def forward(  # GptOssAttention.forward, and `cached` before the cache
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shape = hidden_states.shape[:-1]
        heads = (*shape, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(heads).transpose(1, 2)
        key = self.k_proj(hidden_states).view(heads).transpose(1, 2)
        value = self.v_proj(hidden_states).view(heads).transpose(1, 2)
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        key, value = self.cached(key, value)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation or "eager", eager_attention_forward
        )
        output, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=0.0 if not self.training else self.attention_dropout,
            scaling=self.scaling,
            sliding_window=self.sliding_window,
            s_aux=self.sinks,
            **kwargs,
        )
        return self.o_proj(output.reshape(*shape, -1).contiguous()), weights


class GptOssPuzzleDecoderLayer(GptOssDecoderLayer):
    """One layer with its own number of experts and its own window."""

    def __init__(self, config: GptOssPuzzleConfig, layer_idx: int) -> None:
        own = config.layer_config(layer_idx)
        super().__init__(own, layer_idx)
        self.self_attn = GptOssPuzzleAttention(own, layer_idx)
        # set_experts_implementation and set_attn_implementation change the model's config, not
        # copies of it.
        self.self_attn.config = config
        self.mlp.experts.config = config


class GptOssPuzzlePreTrainedModel(GptOssPreTrainedModel):
    config: GptOssPuzzleConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    config_class = GptOssPuzzleConfig  # transformers reads the annotation above, which is text here
    _no_split_modules = ["GptOssPuzzleDecoderLayer"]

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # transformers looks for the experts' decorator in this file's text; it is in GptOss's.
        return True


class GptOssPuzzleModel(GptOssPuzzlePreTrainedModel, GptOssModel):  # pyright: ignore
    """The decoder: one mask for every distinct window."""

    def __init__(self, config: GptOssPuzzleConfig) -> None:
        super(GptOssModel, self).__init__(config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(
            GptOssPuzzleDecoderLayer(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = GptOssRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = GptOssRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | Masks | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> MoeModelOutputWithPast:
        """As GptOssModel. `attention_mask` may be a ready mapping from window to mask.

        Position ids that start again (packed documents) keep attention inside a document when
        neither an attention mask nor a cache is given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        given_cache = past_key_values
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            steps = torch.arange(embeds.shape[1], device=embeds.device)
            position_ids = (steps + seen).unsqueeze(0)
        if isinstance(attention_mask, dict):
            masks = attention_mask
        else:
            masks = window_masks(
                self.config,
                embeds,
                attention_mask,
                past_key_values=given_cache,  # an empty one of ours says nothing
                position_ids=position_ids,
            )
        hidden_states = embeds
        position_embeddings = self.rotary_emb(hidden_states, position_ids)
        for layer, window in zip(self.layers, self.config.windows, strict=True):
            hidden_states = layer(
                hidden_states,
                attention_mask=masks[window],
                position_embeddings=position_embeddings,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **kwargs,
            )
        return MoeModelOutputWithPast(
            last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values
        )


class GptOssPuzzleForCausalLM(GptOssPuzzlePreTrainedModel, GptOssForCausalLM):  # pyright: ignore
    """The language model. Its routers are frozen wherever it is trained, so it has no balancing
    loss."""

    def __init__(self, config: GptOssPuzzleConfig) -> None:
        super(GptOssForCausalLM, self).__init__(config)
        self.model = GptOssPuzzleModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.router_aux_loss_coef = config.router_aux_loss_coef
        self.num_experts = config.num_local_experts
        self.num_experts_per_tok = config.num_experts_per_tok
        self.post_init()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("output_router_logits"):
            raise ValueError("gpt_oss_puzzle has no balancing loss: expert counts differ by layer")
        return super().forward(*args, **kwargs)

    @staticmethod
    def create_masks_for_generate(
        config: GptOssPuzzleConfig,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None,
        position_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> Masks:
        """What `generate` calls ahead of time with a static cache."""
        return window_masks(
            config,
            inputs_embeds,
            attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )


def window_masks(
    config: Any,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    past_key_values: Cache | None = None,
    position_ids: torch.Tensor | None = None,
    windows: Sequence[int | None] | None = None,
) -> Masks:
    """One mask for every distinct window of the model, or for each of `windows`.

    Sized by the cache of the first layer that has the window. `config` may be GptOssConfig as well.
    """
    own = layer_windows(config)
    masks: Masks = {}
    for window in dict.fromkeys(own if windows is None else windows):
        # A shallow copy: mask functions read `sliding_window` and the attention implementation,
        # nothing else.
        sized = copy.copy(config)
        sized.sliding_window = window
        create = create_causal_mask if window is None else create_sliding_window_causal_mask
        masks[window] = create(
            config=sized,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
            layer_idx=own.index(window) if past_key_values is not None else 0,
        )
    return masks


def build_model(config: Mapping[str, Any], *, experts_implementation: str = "grouped_mm") -> Any:
    """An empty float32 model for a `gpt_oss_puzzle` config.json, or for a `gpt_oss` one with an FP8
    cache."""
    parsed = parse_config(config)
    return GptOssPuzzleForCausalLM._from_config(
        parsed,
        attn_implementation="eager",
        experts_implementation=experts_implementation,
        dtype=torch.float32,
    )


def parse_config(config: Mapping[str, Any]) -> GptOssPuzzleConfig:
    """config.json of either model type, with a window and an expert count for every layer."""
    plain = {
        key: value
        for key, value in config.items()
        if key not in ("quantization_config", "dtype", "model_type", "architectures")
    }
    quantization = config.get("quantization_config") or {}
    try:
        return GptOssPuzzleConfig(
            **plain,
            kv_cache_scheme=quantization.get("kv_cache_scheme"),
            kv_cache_skip_layers=quantization.get("kv_cache_skip_layers"),
        )
    except (TypeError, ValueError) as error:
        raise StageFailure("BAD_INPUT", f"config.json: {error}") from error


def load_kv_scales(model: Any, get: Callable[[str], torch.Tensor], names: Container[str]) -> None:
    """Fill every quantised layer's scales. Absent is an error here; others take 1.0 in silence."""
    for layer, module in enumerate(model.model.layers):
        for scale in ("k_scale", "v_scale") if module.self_attn.has_fp8_cache else ():
            name = f"{attention_prefix(layer)}{scale}"
            if name not in names:
                raise StageFailure("BAD_INPUT", f"kv_cache_scheme is set and {name} is missing")
            value = get(name)
            if value.numel() != 1 or not (value.isfinite() & (value > 0)).all():
                raise StageFailure(
                    "BAD_INPUT", f"{name}: expected one positive scale, found {value}"
                )
            getattr(module.self_attn, scale).copy_(value.reshape(()))


def _block(layer: int, block: Mapping[str, Any]) -> dict[str, int | None]:
    if set(block) != {"num_local_experts", "sliding_window"}:
        raise ValueError(f"block_configs[{layer}] has {sorted(block)}")
    experts, window = block["num_local_experts"], block["sliding_window"]
    if type(experts) is not int or experts < 1:
        raise ValueError(f"block_configs[{layer}].num_local_experts is {experts!r}")
    if window is not None and (type(window) is not int or window < 1):
        raise ValueError(f"block_configs[{layer}].sliding_window is {window!r}")
    return {"num_local_experts": experts, "sliding_window": window}


AutoConfig.register(GptOssPuzzleConfig.model_type, GptOssPuzzleConfig, exist_ok=True)
AutoModelForCausalLM.register(GptOssPuzzleConfig, GptOssPuzzleForCausalLM, exist_ok=True)
