"""Attention in blocks of queries against transformers' own, whole."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

from fretsaw_engine.data.packed import attention_mask
from fretsaw_engine.methods.score import attention as blocks


@pytest.mark.parametrize("window", [None, 3, 16, 100])
@pytest.mark.parametrize("score_bytes", [2**30, 1])
def test_blocks_of_queries_read_what_the_whole_matrix_reads(monkeypatch, window, score_bytes):
    monkeypatch.setattr(blocks, "SCORE_BYTES", score_bytes)
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, 4, 50, 8, generator=generator)
    key, value = (torch.randn(2, 2, 50, 8, generator=generator) for _ in range(2))
    sinks = torch.randn(4, generator=generator)
    documents = torch.tensor([[0] * 20 + [1] * 25 + [-1] * 5, [2] * 50], dtype=torch.int32)
    module = SimpleNamespace(sinks=sinks, num_key_value_groups=2, training=False)
    expected, _ = eager_attention_forward(
        module, query, key, value, attention_mask(documents, window), scaling=8**-0.5
    )
    found = blocks.attention(query, key, value, sinks, documents, window)
    torch.testing.assert_close(found, expected.flatten(2), rtol=1e-5, atol=1e-6)


def test_a_query_sees_its_document_its_window_and_nothing_behind_it():
    documents = torch.tensor([[0, 0, 0, 1, 1]])
    seen = blocks.visible(documents, 2, (0, 5), (0, 5))[0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]
