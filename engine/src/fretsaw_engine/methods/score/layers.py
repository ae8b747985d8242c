"""A parent read layer by layer from its files, in float32; it is never in memory as a whole.

A layer is h -> a = h + attention(norm(h)) -> h' = a + experts(norm(a)), in pieces that scoring runs
by themselves. Experts are dequantised from MXFP4 one at a time: 99 MB in float32 at gpt-oss-120b's
size, where a whole layer would take 12 GiB. What fits the budget stays in memory, so a small model
is read once.

Shape suffixes: B rows, T tokens of a row, N = B * T tokens flat, D hidden, F intermediate, E
experts, H heads, G key/value heads, X head_dim, V vocabulary.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear
from transformers.models.gpt_oss.modeling_gpt_oss import (
    GptOssRotaryEmbedding,
    apply_rotary_pos_emb,
)

from fretsaw_engine.methods.score.attention import attention
from fretsaw_engine.moe import gpt_oss, mxfp4, puzzle
from fretsaw_engine.moe.checkpoint import check_tensors, open_tensors, read_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fretsaw_engine.methods.score.units import Unit
    from fretsaw_engine.moe.checkpoint import Tensors

VOCABULARY_ROWS = 16384
"""Rows of the output matrix that are in float32 at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expert:
    """One expert's weights, [outputs, inputs]."""

    gate_up: torch.Tensor
    gate_up_bias: torch.Tensor
    down: torch.Tensor
    down_bias: torch.Tensor
    limit: float
    alpha: float

    def __call__(self, x_ND: torch.Tensor) -> torch.Tensor:
        """Clamped SwiGLU, gate and up in turn (transformers' GptOssExperts._apply_gate)."""
        inner_NF = linear(x_ND, self.gate_up, self.gate_up_bias)
        gate = inner_NF[:, ::2].clamp(max=self.limit)
        up = inner_NF[:, 1::2].clamp(min=-self.limit, max=self.limit)
        return linear(
            (up + 1) * (gate * torch.sigmoid(gate * self.alpha)), self.down, self.down_bias
        )

    @property
    def size_bytes(self) -> int:
        return 4 * sum(t.numel() for t in (self.gate_up, self.down))


@dataclass(kw_only=True)
class Parent(AbstractContextManager["Parent"]):
    """A checkpoint's layers; a context manager."""

    folder: Path
    budget_bytes: int
    """Bytes of dequantised weights that may stay in memory."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _held_bytes: int = 0
    _experts: dict[tuple[int, int], Expert] = field(default_factory=dict)
    _dense: dict[str, torch.Tensor] = field(default_factory=dict)
    _passing: dict[str, torch.Tensor] = field(default_factory=dict)
    """What has no room to stay: of the layer at work alone."""

    def __post_init__(self) -> None:
        document = read_config(self.folder)
        self.config: Any = puzzle.parse_config(document)
        self.windows: list[int | None] = self.config.windows
        self.expert_counts = gpt_oss.expert_counts(document)
        self._tensors: Tensors = open_tensors(self.folder)
        check_tensors(document, self._tensors)
        self._rotary = GptOssRotaryEmbedding(self.config).to(self.device)

    def __exit__(self, *_: object) -> None:
        self._tensors.close()

    @property
    def layers(self) -> int:
        return len(self.windows)

    @property
    def hidden_size(self) -> int:
        return self.config.hidden_size

    @property
    def top_k(self) -> int:
        return self.config.num_experts_per_tok

    def embed(self, unit: Unit) -> torch.Tensor:
        ids_BT = unit.input_ids_BT
        rows = self._tensors.get("model.embed_tokens.weight")[ids_BT.flatten().cpu()]
        return rows.float().to(self.device).view(*ids_BT.shape, -1)

    def attend(
        self,
        layer: int,
        unit: Unit,
        hidden_BTD: torch.Tensor,
        window: int | None | str = "own",
        see: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """First half of a layer, with its own window or with another one. `see` is shown K (after
        RoPE) and V, [B, G, T, X], as they would enter a cache."""
        prefix = gpt_oss.attention_prefix(layer)
        normed_BTD = self._norm(f"model.layers.{layer}.input_layernorm", hidden_BTD)
        query_BHTX, key_BGTX, value_BGTX = (
            self._linear(f"{prefix}{name}_proj", normed_BTD)
            .unflatten(-1, (-1, self.config.head_dim))
            .transpose(1, 2)
            for name in "qkv"
        )
        cos, sin = self._rotary(normed_BTD, unit.position_ids_BT)
        query_BHTX, key_BGTX = apply_rotary_pos_emb(query_BHTX, key_BGTX, cos, sin)
        if see is not None:
            see(key_BGTX, value_BGTX)
        if f"{prefix}k_scale" in self._tensors:
            key_BGTX = puzzle.fake_fp8(key_BGTX, self._get(f"{prefix}k_scale"))
            value_BGTX = puzzle.fake_fp8(value_BGTX, self._get(f"{prefix}v_scale"))
        read_BTD = attention(
            query_BHTX,
            key_BGTX,
            value_BGTX,
            self._get(f"{prefix}sinks"),
            unit.document_ids_BT,
            self.windows[layer] if isinstance(window, str) else window,
        )
        return hidden_BTD + self._linear(f"{prefix}o_proj", read_BTD)

    def expert_input(self, layer: int, attended_BTD: torch.Tensor) -> torch.Tensor:
        """What router and experts of a layer see, [N, D]."""
        name = f"model.layers.{layer}.post_attention_layernorm"
        return self._norm(name, attended_BTD).flatten(0, 1)

    def router_logits(self, layer: int, x_ND: torch.Tensor) -> torch.Tensor:
        return self._linear(gpt_oss.router_prefix(layer).removesuffix("."), x_ND)

    def final_norm(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        return self._norm("model.norm", hidden_BTD)

    def logits(self, normed_ND: torch.Tensor) -> torch.Tensor:
        """Next-token logits [N, V]; the output matrix is in float32 a part at a time."""
        weight_VD = self._tensors.get("lm_head.weight")
        parts = [
            linear(normed_ND, rows_VD.float().to(self.device))
            for rows_VD in weight_VD.split(VOCABULARY_ROWS)
        ]
        return torch.cat(parts, dim=-1)

    def expert(self, layer: int, number: int) -> Expert:
        """One expert, dequantised; kept if the budget has room for it."""
        found = self._experts.get((layer, number))
        if found is not None:
            return found
        prefix = gpt_oss.experts_prefix(layer)
        gate_up, down = (self._matrix(f"{prefix}{n}", number) for n in gpt_oss.EXPERT_PROJECTIONS)
        biases = (
            self._tensors.rows(f"{prefix}{n}_bias", [number])[0].float().to(self.device)
            for n in gpt_oss.EXPERT_PROJECTIONS
        )
        gate_up_bias, down_bias = biases
        expert = Expert(
            gate_up=gate_up,
            gate_up_bias=gate_up_bias,
            down=down,
            down_bias=down_bias,
            limit=self.config.swiglu_limit,
            alpha=self.config.swiglu_alpha,
        )
        if self._has_room(expert.size_bytes):
            self._experts[layer, number] = expert
        return expert

    def holds_experts(self, layer: int) -> bool:
        """Whether all experts of a layer are in memory."""
        return all((layer, e) in self._experts for e in range(self.expert_counts[layer]))

    def _matrix(self, stem: str, expert: int) -> torch.Tensor:
        blocks = self._tensors.rows(f"{stem}_blocks", [expert]).to(self.device)
        scales = self._tensors.rows(f"{stem}_scales", [expert]).to(self.device)
        return mxfp4.decode_rows(blocks[0], scales[0])

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        variance = x.square().mean(-1, keepdim=True)
        return self._get(f"{name}.weight") * (x * torch.rsqrt(variance + self.config.rms_norm_eps))

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self._get(f"{name}.weight"), self._get(f"{name}.bias"))

    def _get(self, name: str) -> torch.Tensor:
        found = self._dense.get(name)
        if found is None:
            found = self._passing.get(name)
        if found is None:
            found = self._tensors.get(name).float().to(self.device)
            if self._has_room(4 * found.numel()):
                self._dense[name] = found
            else:
                layer = name.split(".")[:3]
                if any(other.split(".")[:3] != layer for other in self._passing):
                    self._passing.clear()
                self._passing[name] = found
        return found

    def _has_room(self, size: int) -> bool:
        if self._held_bytes + size > self.budget_bytes:
            return False
        self._held_bytes += size
        return True
