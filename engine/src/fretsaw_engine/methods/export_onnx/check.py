"""Is the graph the model? Logits of both on the same random tokens: first a padded batch of
prompts, then one token at a time out of the cache.

With an FP8 cache two right implementations part: a value that one rounds up and the other down
differs by an eighth, and sooner or later moves a token to another expert. So there the graph's
twin without quantisation is held to the model's logits, and of the graph itself what enters the
cache: nearly all of it must be PyTorch's values, while a wrong scale, or K before RoPE, changes
nearly all.

Shape suffixes: B rows, S tokens of a step, T tokens of a sequence, V vocabulary, L layers, N key
heads, H head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.export_onnx.graph import window_name

if TYPE_CHECKING:
    from pathlib import Path

    from fretsaw_engine.methods.export_onnx.model import Array


LARGEST_CACHE_SHARE = 0.25
"""Seen with random weights, scale 1.0 and 8 layers of 16 experts: 0.05. With a wrong scale for K or
for V alone it is about 0.5, without quantisation 0.95."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckSettings:
    """How many sequences of how many tokens, and the difference allowed as a share of the
    greatest logit.
    """

    prompts: int = 4
    tokens: int = 40
    tolerance: float = 1e-3
    seed: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Absolute differences between logits; `scale` is the greatest logit of the reference (at
    least 1).
    """

    greatest: float
    mean: float
    scale: float


class OnnxDecoder:
    """An exported graph with its cache, as plainly as it can be done; evaluation/ has the fast
    one.
    """

    def __init__(
        self, path: Path, windows: list[int | None], kv_heads: int, head_dim: int, threads: int
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options)
        self._windows = windows
        self._shape = (len(windows), 2, kv_heads, head_dim)
        self._rows: list[Array] = []  # by row: [T, L, 2, N, H]

    def prompt(self, prompts: list[list[int]]) -> list[Array]:
        """Start afresh with a batch; the logits [T, V] of every prompt."""
        longest = max(len(prompt) for prompt in prompts)
        ids_BS = np.zeros((len(prompts), longest), np.int64)
        for row, prompt in enumerate(prompts):
            ids_BS[row, : len(prompt)] = prompt
        positions_BS = np.tile(np.arange(longest, dtype=np.int64), (len(prompts), 1))
        self._rows = [np.zeros((0, *self._shape), np.float32) for _ in prompts]
        lengths = [len(prompt) for prompt in prompts]
        logits_BSV, new = self._run(ids_BS, positions_BS, [length - 1 for length in lengths])
        self._rows = [new[row, :length] for row, length in enumerate(lengths)]
        return [logits_BSV[row, :length] for row, length in enumerate(lengths)]

    def step(self, tokens: list[int]) -> Array:
        """Give every row one more token; the logits [B, V] after it."""
        positions = [len(row) for row in self._rows]
        ids_BS = np.array(tokens, np.int64)[:, None]
        logits_BSV, new = self._run(ids_BS, np.array(positions, np.int64)[:, None], None)
        self._rows = [np.concatenate([row, new[i]]) for i, row in enumerate(self._rows)]
        return logits_BSV[:, 0]

    def cache_BTL2NH(self) -> Array:
        """What is cached, of rows of equal length."""
        return np.stack(self._rows)

    def _run(
        self, ids_BS: Any, positions_BS: Any, lengths: list[int] | None
    ) -> tuple[Array, Array]:
        feeds: dict[str, Any] = {"input_ids": ids_BS, "position_ids": positions_BS}
        for window in dict.fromkeys(self._windows):
            seen = lengths or [len(self._tail(row, window)) for row in self._rows]
            feeds[f"lengths.{window_name(window)}"] = np.array(seen, np.int32)
        for index, window in enumerate(self._windows):
            tails = [self._tail(row, window)[:, index] for row in self._rows]
            past = np.zeros(
                (len(tails), 2, self._shape[2], max(map(len, tails)), self._shape[3]), np.float32
            )
            for row, tail in enumerate(tails):
                past[row, :, :, : len(tail)] = tail.transpose(1, 2, 0, 3)
            feeds[f"past.{index}.key"] = np.ascontiguousarray(past[:, 0])
            feeds[f"past.{index}.value"] = np.ascontiguousarray(past[:, 1])
        logits, new = self._session.run(["logits", "new_kv"], feeds)
        return np.asarray(logits), np.asarray(new).reshape(*ids_BS.shape, *self._shape)

    @staticmethod
    def _tail(row: Array, window: int | None) -> Array:
        return row if window is None else row[max(0, len(row) - window + 1) :]


def compare(
    model: Any, decoder: OnnxDecoder, vocab_size: int, settings: CheckSettings
) -> Difference:
    """Decode `settings.prompts` random sequences with both."""
    rng = np.random.default_rng(settings.seed)
    sequences = rng.integers(0, vocab_size, (settings.prompts, settings.tokens)).tolist()
    # Prompts of unlike length, so that padding is tried; every row then gets equally many more
    # tokens.
    lengths = [max(1, settings.tokens // 2 - row) for row in range(settings.prompts)]
    with torch.no_grad():
        reference_BTV = model(torch.tensor(sequences), use_cache=False).logits.float().numpy()
    differences = [
        np.abs(logits - reference_BTV[row, : lengths[row]])
        for row, logits in enumerate(
            decoder.prompt([s[:n] for s, n in zip(sequences, lengths, strict=True)])
        )
    ]
    for offset in range(settings.tokens - max(lengths)):
        at = [length + offset for length in lengths]
        logits_BV = decoder.step([sequences[row][t] for row, t in enumerate(at)])
        expected_BV = np.stack([reference_BTV[row, t] for row, t in enumerate(at)])
        differences.append(np.abs(logits_BV - expected_BV))
    everything = np.concatenate([difference.reshape(-1) for difference in differences])
    return Difference(
        greatest=float(everything.max()),
        mean=float(everything.mean(dtype=np.float64)),
        scale=max(1.0, float(np.abs(reference_BTV).max())),
    )


def cache_share_different(
    model: Any, decoder: OnnxDecoder, vocab_size: int, settings: CheckSettings
) -> float:
    """Which share of what enters the cache, over all layers, is not what PyTorch quantises to."""
    rng = np.random.default_rng(settings.seed)
    sequences = rng.integers(0, vocab_size, (settings.prompts, settings.tokens)).tolist()
    reference = _cached_BTL2NH(model, torch.tensor(sequences))
    decoder.prompt(sequences)
    found = decoder.cache_BTL2NH()
    scale = np.abs(reference).max(axis=(0, 1, 4, 5), keepdims=True)
    return float((np.abs(found - reference) > 1e-5 * scale).mean())


def _cached_BTL2NH(model: Any, ids_BT: torch.Tensor) -> Array:
    """K and V of every layer as the PyTorch model's `cached` hands them on."""
    layers = [layer.self_attn for layer in model.model.layers]
    seen: list[Array] = []

    def watched(attention: Any) -> Any:
        original = attention.cached

        def cached(key: torch.Tensor, value: torch.Tensor) -> Any:
            result = original(key, value)
            seen.append(np.stack([part.float().numpy().swapaxes(1, 2) for part in result], axis=2))
            return result

        return cached

    try:
        for attention in layers:
            attention.cached = watched(attention)
        with torch.no_grad():
            model(ids_BT, use_cache=False)
    finally:
        for attention in layers:
            del attention.cached
    return np.stack(seen, axis=2)


def require_equal(difference: Difference, settings: CheckSettings) -> None:
    """ENGINE_BUG with the numbers when the graph is not the model."""
    allowed = settings.tolerance * difference.scale
    if not difference.greatest <= allowed:  # NaN is not at most anything
        raise StageFailure(
            "ENGINE_BUG",
            f"the ONNX graph's logits differ by {difference.greatest:.3g} from PyTorch's, "
            f"allowed {allowed:.3g}",
            {
                "max_abs_logit_difference": repr(difference.greatest),
                "mean_abs_logit_difference": repr(difference.mean),
                "max_abs_logit": repr(difference.scale),
                "tolerance": settings.tolerance,
            },
        )


def require_same_cache(share_different: float) -> None:
    """ENGINE_BUG when too much enters the cache otherwise than in PyTorch."""
    if not share_different <= LARGEST_CACHE_SHARE:
        raise StageFailure(
            "ENGINE_BUG",
            f"{share_different:.0%} of what enters the ONNX graph's FP8 cache is not what PyTorch "
            f"quantises to, allowed {LARGEST_CACHE_SHARE:.0%}",
            {"cache_share_different": share_different},
        )
