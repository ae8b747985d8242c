"""Sampling answers from a model in batches: left padding, KV cache, rows leave the batch when
they end.

Each answer has a generator of its own, seeded by what is asked (not by where it lies in a batch):
one uniform number a token, turned into a token by the inverse of the distribution's cumulative
sum. So an answer does not depend on its neighbours, but for the rounding of matrix products over
other rows.

The model is called through its own forward and cache. Compared with transformers' `generate` this
drops rows that have ended (the longest answer would otherwise hold all others in the batch) and
builds one mask a window instead of asking for them in every layer type.

Shape suffixes: B rows still writing, T prompt tokens (padded), K cached tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from fretsaw_engine.data.packed import attention_mask
from fretsaw_engine.moe.gpt_oss import FULL, SLIDING
from fretsaw_engine.moe.puzzle import GptOssPuzzleConfig, layer_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

REGROUP = 0.8
"""The batch is packed anew when fewer than this share of its rows still write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the likeliest."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """`ids` include the token that ended it; `log_probs` are those of the distribution at the
    sampling temperature, before top_p.
    """

    ids: list[int]
    log_probs: list[float]
    ended: bool


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything with a stable text."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@torch.no_grad()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    sampling: Sampling,
    stop: Sequence[int],
    pad_id: int,
) -> list[Answer]:
    """One answer to each prompt, all in one batch."""
    was_training = model.training
    model.eval()
    batch = _Batch(model, prompts, seeds, sampling, pad_id)
    stop_ids = torch.tensor(list(stop), device=batch.device)
    logits_BV = batch.read_prompts()
    for step in range(sampling.max_new_tokens):
        token_B, log_prob_B = draw(logits_BV, batch.noise[:, step], sampling)
        batch.write(token_B, log_prob_B, torch.isin(token_B, stop_ids))
        if not batch.alive or step + 1 == sampling.max_new_tokens:
            break
        logits_BV = batch.step()
    model.train(was_training)
    return batch.answers()


def draw(
    logits_BV: torch.Tensor, noise_B: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row from uniform noise, and its log probability."""
    logits_BV = logits_BV.float()
    if sampling.temperature == 0:
        log_p_BV = logits_BV.log_softmax(-1)
        token_B = logits_BV.argmax(-1)
    else:
        log_p_BV = (logits_BV / sampling.temperature).log_softmax(-1)
        p_BV, index_BV = log_p_BV.exp().double(), None
        if sampling.top_p < 1:
            p_BV, index_BV = p_BV.sort(dim=-1, descending=True, stable=True)
            before_BV = p_BV.cumsum(-1) - p_BV
            p_BV = p_BV.masked_fill(before_BV >= sampling.top_p, 0.0)
        cumulative_BV = p_BV.cumsum(-1)
        target_B = noise_B * cumulative_BV[:, -1]
        place_B = (cumulative_BV <= target_B[:, None]).sum(-1)
        # Noise below 1 may still round up to the whole sum: then the last word that has any
        # probability.
        last_B = (p_BV > 0).long().cumsum(-1).argmax(-1)
        token_B = torch.minimum(place_B, last_B)
        if index_BV is not None:
            token_B = index_BV.gather(1, token_B[:, None])[:, 0]
    return token_B, log_p_BV.gather(1, token_B[:, None])[:, 0]


class _Batch:
    """The rows that still write, their cache, and what all rows have written."""

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling,
        pad_id: int,
    ) -> None:
        self._model = model
        self.device = model.lm_head.weight.device
        self._windows = list(dict.fromkeys(layer_windows(model.config)))
        self._by_window = isinstance(model.config, GptOssPuzzleConfig)
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), longest), pad_id)
        real = torch.zeros(len(prompts), longest + sampling.max_new_tokens, dtype=torch.bool)
        real[:, longest:] = True
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            real[row, longest - len(prompt) : longest] = True
        self._ids_BT, self._real = ids.to(self.device), real.to(self.device)
        self._length = longest
        self._position_B = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        self._cache = DynamicCache(config=model.config)
        self.noise = torch.stack(
            [
                torch.rand(
                    sampling.max_new_tokens,
                    generator=torch.Generator().manual_seed(seed),
                    dtype=torch.float64,
                )
                for seed in seeds
            ]
        ).to(self.device)
        self._row_B = list(range(len(prompts)))
        self._alive_B = [True] * len(prompts)
        self._written: list[list[int]] = [[] for _ in prompts]
        self._log_probs: list[list[float]] = [[] for _ in prompts]
        self._ended = [False] * len(prompts)
        self._token_B = torch.empty(0)

    @property
    def alive(self) -> bool:
        return any(self._alive_B)

    def read_prompts(self) -> torch.Tensor:
        real_BT = self._real[:, : self._length]
        # Padding is a document of its own: it sees only itself, and nothing sees it.
        owner_BT = torch.where(real_BT, 0, -1)
        masks = {window: attention_mask(owner_BT, window, self._dtype) for window in self._windows}
        position_BT = (real_BT.long().cumsum(-1) - 1).clamp(min=0)
        return self._forward(self._ids_BT, position_BT, masks)

    def write(self, token_B: torch.Tensor, log_prob_B: torch.Tensor, stops_B: torch.Tensor) -> None:
        """Take in one token of every row; rows that had ended before take nothing."""
        drawn = zip(token_B.tolist(), log_prob_B.tolist(), stops_B.tolist(), strict=True)
        for at, (token, log_prob, stops) in enumerate(drawn):
            if not self._alive_B[at]:
                continue
            row = self._row_B[at]
            self._written[row].append(token)
            self._log_probs[row].append(log_prob)
            if stops:
                self._ended[row] = True
                self._alive_B[at] = False
        self._token_B = token_B

    def step(self) -> torch.Tensor:
        """Read the tokens just written; gives the next logits."""
        if sum(self._alive_B) <= REGROUP * len(self._alive_B):
            self._regroup()
        self._length += 1
        masks = {}
        for window in self._windows:
            seen = self._length if window is None else min(window, self._length)
            real_BK = self._real[:, self._length - seen : self._length]
            mask_BK = torch.zeros(real_BK.shape, dtype=self._dtype, device=self.device)
            masks[window] = mask_BK.masked_fill_(~real_BK, torch.finfo(self._dtype).min)[
                :, None, None
            ]
        logits_BV = self._forward(self._token_B[:, None], self._position_B[:, None], masks)
        self._position_B = self._position_B + 1
        return logits_BV

    def answers(self) -> list[Answer]:
        return [
            Answer(ids=ids, log_probs=log_probs, ended=ended)
            for ids, log_probs, ended in zip(
                self._written, self._log_probs, self._ended, strict=True
            )
        ]

    @property
    def _dtype(self) -> torch.dtype:
        return self._model.lm_head.weight.dtype

    def _regroup(self) -> None:
        keep = [at for at, alive in enumerate(self._alive_B) if alive]
        index = torch.tensor(keep, device=self.device)
        self._cache.batch_select_indices(index)
        self._real, self.noise = self._real[index], self.noise[index]
        self._position_B, self._token_B = self._position_B[index], self._token_B[index]
        self._row_B = [self._row_B[at] for at in keep]
        self._alive_B = [True] * len(keep)

    def _forward(
        self, ids: torch.Tensor, position: torch.Tensor, masks: dict[int | None, torch.Tensor]
    ) -> torch.Tensor:
        named: dict[Any, torch.Tensor] = (
            dict(masks)
            if self._by_window
            else {(FULL if window is None else SLIDING): mask for window, mask in masks.items()}
        )
        return self._model(
            input_ids=ids,
            attention_mask=named,
            position_ids=position,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
