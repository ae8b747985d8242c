"""Calibration data as scoring and calibration read it, and a whole model run on it layer by layer.

Shape suffixes: B rows, T tokens of a row, N = B * T tokens flat, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.data.packed import PADDING, TENSORS, Packed, attention_mask, file_digest
from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe.puzzle import layer_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fretsaw_engine.data.packed import Dataset

ROWS_PER_BATCH = 16
"""Rows that run at once. Part of no result beyond float rounding."""


@dataclass(kw_only=True)
class Batch:
    """Some rows of packed data going through one model, layer by layer."""

    model: Any
    input_ids_BT: torch.Tensor
    document_ids_BT: torch.Tensor
    rope: tuple[torch.Tensor, torch.Tensor]
    windows: list[int | None]
    _masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def embed(self) -> torch.Tensor:
        return self.model.model.embed_tokens(self.input_ids_BT)

    def attend(
        self,
        layer: int,
        hidden_BTD: torch.Tensor,
        cache: Any = None,
    ) -> torch.Tensor:
        """First half of a layer, h + attention(norm(h)).

        `cache.update(k, v, layer)` is handed K (after RoPE) and V, and gives back what to use.
        """
        block = self.model.model.layers[layer]
        output_BTD, _ = block.self_attn(
            hidden_states=block.input_layernorm(hidden_BTD),
            position_embeddings=self.rope,
            attention_mask=self._mask(self.windows[layer]),
            past_key_values=cache,
        )
        return hidden_BTD + output_BTD

    def mix(self, layer: int, attended_BTD: torch.Tensor) -> torch.Tensor:
        """Second half of a layer, as the model does it."""
        block = self.model.model.layers[layer]
        output_BTD, _ = block.mlp(block.post_attention_layernorm(attended_BTD))
        return attended_BTD + output_BTD

    def _mask(self, window: int | None) -> torch.Tensor:
        if window not in self._masks:
            dtype = self.rope[0].dtype
            self._masks[window] = attention_mask(self.document_ids_BT, window, dtype)
        return self._masks[window]


def batches(model: Any, packed: Packed, rows: int = ROWS_PER_BATCH) -> Iterator[Batch]:
    """The data in batches; masks and rotary embeddings are made once a batch."""
    windows = layer_windows(model.config)
    for start in range(0, len(packed), rows):
        part = packed.rows(start, start + rows)
        positions = part.position_ids.long()
        weight = model.model.embed_tokens.weight
        empty = torch.empty(0, dtype=weight.dtype, device=weight.device)
        yield Batch(
            model=model,
            input_ids_BT=part.input_ids.long(),
            document_ids_BT=part.document_ids,
            rope=model.model.rotary_emb(empty, positions),
            windows=windows,
        )


def choose_rows(packed: Packed, tokens: int | None, seed: int) -> Packed:
    """Rows in a seeded order until they hold `tokens` tokens; all, in order, if that is None."""
    if tokens is None:
        return packed
    order = torch.randperm(len(packed), generator=torch.Generator().manual_seed(seed))
    held = (packed.document_ids != PADDING).sum(1)[order].cumsum(0)
    enough = int((held < tokens).sum()) + 1
    chosen = order[:enough].sort().values
    return Packed(**{name: getattr(packed, name)[chosen] for name in TENSORS})


def calibration_rows(
    dataset_rows: Packed | None, vocabulary: int, tokens: int | None, seed: int
) -> Packed:
    """The rows that a stage reads; BAD_INPUT if there are none or the vocabulary is another."""
    if dataset_rows is None or not len(dataset_rows):
        raise StageFailure("BAD_INPUT", "the calibration data holds no packed rows")
    largest = int(dataset_rows.input_ids.max())
    if largest >= vocabulary:
        raise StageFailure(
            "BAD_INPUT",
            f"token {largest} in the calibration data, the model's vocabulary has {vocabulary}: "
            "was it prepared with another tokenizer?",
        )
    return choose_rows(dataset_rows, tokens, seed)


def check_tokenizer(dataset: Dataset, checkpoint: Path) -> None:
    """BAD_INPUT if the data says that it was prepared with another tokenizer than the model's."""
    prepared, own = dataset.description.get("tokenizer_digest"), checkpoint / "tokenizer.json"
    if prepared is None or not own.is_file():
        return
    found = file_digest(own)
    if prepared != found:
        raise StageFailure(
            "BAD_INPUT",
            f"the calibration data was prepared with tokenizer {prepared}, the model has {found}: "
            "prepare it again with this model's tokenizer",
            {"prepared": prepared, "model": found},
        )


def check_finite(values: torch.Tensor, what: Callable[[int], str]) -> None:
    """BAD_INPUT naming the first token (flat index) whose values are not finite."""
    bad_N = ~values.isfinite().flatten(1).all(1)
    if bool(bad_N.any()):
        first = int(bad_N.nonzero()[0])
        raise StageFailure("BAD_INPUT", f"not finite: {what(first)}")
