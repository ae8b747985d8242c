"""Packing against a slow reference, and data sets that read back as written or not at all."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import torch

from fretsaw_engine.data.packed import (
    PADDING,
    TENSORS,
    attention_mask,
    fill,
    pack,
    read_dataset,
    write_dataset,
)
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe.checkpoint import load_model
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def _documents(seed: int, count: int, longest: int = 20) -> list[Document]:
    rng = random.Random(seed)
    return [
        Document(
            ids=[rng.randint(10, 200) for _ in range(size)],
            mask=[rng.randint(0, 1) for _ in range(size)],
        )
        for size in (rng.randint(1, longest) for _ in range(count))
    ]


def test_every_document_is_in_one_row_whole_and_in_order() -> None:
    documents = _documents(1, 60)
    packed = pack(documents, 32, pad_id=7)
    for index, document in enumerate(documents):
        where = (packed.document_ids == index).nonzero()
        row, start = where[0].tolist()
        stop = start + len(document.ids)
        assert where.tolist() == [[row, at] for at in range(start, stop)]
        assert packed.input_ids[row, start:stop].tolist() == document.ids
        assert packed.loss_mask[row, start:stop].tolist() == document.mask
        assert packed.position_ids[row, start:stop].tolist() == list(range(len(document.ids)))
    padding = packed.document_ids == PADDING
    assert (packed.input_ids[padding] == 7).all()
    assert (packed.loss_mask[padding] == 0).all()


def test_rows_are_those_of_first_fit() -> None:
    documents = _documents(2, 80)
    free: list[int] = []
    expected = []
    for document in documents:
        size = len(document.ids)
        row = next((r for r, room in enumerate(free) if room >= size), len(free))
        if row == len(free):
            free.append(32)
        free[row] -= size
        expected.append(row)
    packed = pack(documents, 32)
    rows = [int((packed.document_ids == i).nonzero()[0, 0]) for i in range(len(documents))]
    assert rows == expected


def test_edges_of_packing() -> None:
    assert len(pack([], 8)) == 0
    exact = pack([Document(ids=[1] * 8, mask=[1] * 8)] * 3, 8)
    assert len(exact) == 3
    assert (exact.document_ids != PADDING).all()
    with pytest.raises(StageFailure, match="does not fit"):
        pack([Document(ids=[1] * 9, mask=[1] * 9)], 8)


def test_fill_stops_at_the_rows_asked_for_and_says_who_found_room() -> None:
    documents = _documents(3, 500)
    packed, placed = fill(iter(documents), rows=4, sequence_length=32, pad_id=0)
    assert len(packed) == 4
    assert int(packed.document_ids.max()) + 1 == len(placed)
    for index, document in enumerate(placed):
        assert packed.input_ids[packed.document_ids == index].tolist() == document.ids


@pytest.mark.parametrize("window", [None, 1, 3])
def test_masks_against_the_definition(window: int | None) -> None:
    owners = torch.tensor([[0, 0, 0, 0, 1, 1, PADDING], [2, 2, 2, 2, 2, 2, 2]])
    mask = attention_mask(owners, window)
    assert mask.shape == (2, 1, 7, 7)
    for row in range(2):
        for query in range(7):
            for key in range(7):
                same = owners[row, query] == owners[row, key]
                near = query >= key and (window is None or query - key < window)
                assert (mask[row, 0, query, key] == 0) == bool(same and near)


def test_a_packed_document_sees_what_it_would_see_alone(tmp_path: Path) -> None:
    write_nano_checkpoint(tmp_path / "nano", 5)
    model = load_model(tmp_path / "nano")
    documents = _documents(4, 9)
    packed = pack(documents, 32)
    masks = {
        "full_attention": attention_mask(packed.document_ids, None),
        "sliding_attention": attention_mask(packed.document_ids, model.config.sliding_window),
    }
    with torch.no_grad():
        together = model(
            input_ids=packed.input_ids.long(),
            position_ids=packed.position_ids.long(),
            attention_mask=masks,
            use_cache=False,
        ).logits
        for index, document in enumerate(documents):
            alone = model(input_ids=torch.tensor([document.ids])).logits[0]
            torch.testing.assert_close(
                together[packed.document_ids == index], alone, rtol=1e-4, atol=1e-5
            )


def test_a_data_set_reads_back(tmp_path: Path) -> None:
    documents = _documents(5, 30)
    packed = pack(documents, 32)
    examples = [{"id": str(i), "messages": []} for i in range(30)]
    write_dataset(
        tmp_path, examples=examples, packed=packed, description={"split": "train"}, rows_per_shard=3
    )
    found = read_dataset(tmp_path)
    assert found.examples == examples
    assert found.description["tokens"] == sum(len(d.ids) for d in documents)
    assert found.description["trained_tokens"] == sum(sum(d.mask) for d in documents)
    assert found.packed is not None
    for name in TENSORS:
        assert torch.equal(getattr(found.packed, name), getattr(packed, name))


def test_a_data_set_without_rows_reads_back(tmp_path: Path) -> None:
    write_dataset(tmp_path, examples=[{"id": "a"}], packed=None, description={})
    assert read_dataset(tmp_path).packed is None


@pytest.mark.parametrize("broken", ["dataset.json", "examples.jsonl", "shards/00001.safetensors"])
def test_a_broken_data_set_is_refused(tmp_path: Path, broken: str) -> None:
    packed = pack(_documents(6, 30), 32)
    write_dataset(
        tmp_path, examples=[{"id": "a"}] * 30, packed=packed, description={}, rows_per_shard=4
    )
    content = (tmp_path / broken).read_bytes()
    (tmp_path / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(StageFailure) as caught:
        read_dataset(tmp_path)
    assert caught.value.code == "BAD_INPUT"
