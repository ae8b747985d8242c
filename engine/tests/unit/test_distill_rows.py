"""Which rows a distillation consumes, in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from training_rig import write_answers

from fretsaw_engine.data import stored as data_stored
from fretsaw_engine.data.packed import (
    PADDING,
    TENSORS,
    Packed,
    pack,
    read_dataset,
    write_dataset,
)
from fretsaw_engine.data.stored import StoredRows
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.distill.rows import IGNORED, PlannedRows, labels, plan
from fretsaw_engine.training.context import Context, pieces

if TYPE_CHECKING:
    from pathlib import Path


def _packed(rows: int = 10, length: int = 12) -> Packed:
    documents = [
        Document(ids=list(range(10, 10 + 5)), mask=[0, 0, 1, 1, 1]),
        Document(ids=list(range(20, 20 + 6)), mask=[0, 0, 0, 1, 1, 1]),
    ] * rows
    return pack(documents, length)


def _row(packed: Packed, index: int) -> dict[str, torch.Tensor]:
    return {name: getattr(packed, name)[index] for name in TENSORS}


def _sizes(packed: Packed) -> torch.Tensor:
    return (packed.document_ids != PADDING).sum(1)


def _written(folder: Path, packed: Packed, rows_per_shard: int = 3) -> Path:
    write_dataset(
        folder,
        examples=[],
        packed=packed,
        description={"split": "train"},
        rows_per_shard=rows_per_shard,
    )
    return folder


def test_labels_are_the_next_tokens_that_the_assistant_wrote_in_the_same_document() -> None:
    row = labels(_row(_packed(), 0)).tolist()
    assert row == [IGNORED, 12, 13, 14, IGNORED, IGNORED, IGNORED, 23, 24, 25, IGNORED, IGNORED]


def test_every_pass_sees_every_row_once_in_another_order() -> None:
    packed = _packed(rows=12)
    chosen = plan(_sizes(packed), tokens=3 * 11 * len(packed), batch=len(packed), seed=4, data=[])
    passes = chosen.order.view(-1, len(packed))
    assert chosen.steps == 3
    for one in passes:
        assert sorted(one.tolist()) == list(range(len(packed)))
    assert passes[0].tolist() != passes[1].tolist()


def test_a_plan_stops_at_the_first_step_with_enough_tokens() -> None:
    packed = _packed(rows=10)
    chosen = plan(_sizes(packed), tokens=100, batch=3, seed=1, data=[])
    assert chosen.consumed[-1] >= 100 > chosen.consumed[-2]
    assert chosen.consumed[0] == 0
    assert len(chosen.order) == 3 * chosen.steps


def test_the_plan_depends_on_seed_and_data_and_says_so_in_its_digest() -> None:
    def digest(seed: int, data: list[str], sizes: torch.Tensor) -> str:
        return plan(sizes, tokens=100, batch=2, seed=seed, data=data).digest

    sizes = _sizes(_packed())
    first = digest(1, ["sha256:a", "sha256:b"], sizes)
    assert first == digest(1, ["sha256:a", "sha256:b"], sizes)
    others = {
        digest(2, ["sha256:a", "sha256:b"], sizes),
        digest(1, ["sha256:b", "sha256:a"], sizes),
        digest(1, ["sha256:ab"], sizes),
        digest(1, ["sha256:a", "sha256:b"], sizes + 1),
    }
    assert len(others) == 4 and first not in others


def test_stored_rows_are_those_of_the_shards_one_at_a_time(tmp_path: Path) -> None:
    first, second = _packed(rows=7), _packed(rows=2)
    stored = StoredRows([_written(tmp_path / "a", first), _written(tmp_path / "b", second)], 12)
    assert len(stored) == len(first) + len(second)
    assert stored.sizes.tolist() == [*_sizes(first).tolist(), *_sizes(second).tolist()]
    assert stored.trained_tokens == int(first.loss_mask.sum() + second.loss_mask.sum())
    for index in range(len(stored)):
        part = _row(first, index) if index < len(first) else _row(second, index - len(first))
        row = stored.row(index)
        assert all(torch.equal(row[name], part[name]) for name in TENSORS)


def test_data_of_another_length_is_packed_anew_without_losing_a_token(tmp_path: Path) -> None:
    answers = write_answers(tmp_path / "answers", count=20, length=80)
    packed = read_dataset(answers).packed
    assert packed is not None
    stored = StoredRows([answers, answers], 160)
    rows = [stored.row(index) for index in range(len(stored))]
    ids = torch.cat([row["input_ids"][row["document_ids"] != PADDING] for row in rows])
    trained = torch.cat([row["input_ids"][row["loss_mask"] == 1] for row in rows])
    real = packed.input_ids[packed.document_ids != PADDING].tolist()
    assert sorted(ids.tolist()) == sorted(2 * real)
    assert sorted(trained.tolist()) == sorted(2 * packed.input_ids[packed.loss_mask == 1].tolist())
    assert len(rows) < 2 * len(packed)
    for row, size in zip(rows, stored.sizes.tolist(), strict=True):
        assert row["input_ids"].shape == (160,)
        owner = row["document_ids"]
        assert int((owner != PADDING).sum()) == size
        starts = torch.nonzero(row["position_ids"][:size] == 0).flatten().tolist()
        assert len(starts) == int(owner.max()) + 1  # positions restart with every document


def test_only_the_rows_that_are_asked_for_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = StoredRows([_written(tmp_path / "a", _packed(rows=9), rows_per_shard=2)], 12)
    opened: list[Path] = []
    real = data_stored._open.__wrapped__
    monkeypatch.setattr(data_stored, "_open", lambda shard: opened.append(shard) or real(shard))
    stored.row(5)
    assert {shard.name for shard in opened} == {"00002.safetensors"}


def test_no_rows_at_all_is_bad_input() -> None:
    with pytest.raises(StageFailure) as failure:
        StoredRows([], 16)
    assert failure.value.code == "BAD_INPUT"


def test_rows_come_in_the_plans_order(tmp_path: Path) -> None:
    packed = _packed()
    stored = StoredRows([_written(tmp_path / "a", packed)], 12)
    chosen = plan(stored.sizes, tokens=200, batch=2, seed=1, data=[])
    rows = PlannedRows(stored, chosen)
    assert len(rows) == len(chosen.order)
    assert [int(rows[i]["row"]) for i in range(len(rows))] == chosen.order.tolist()
    assert torch.equal(rows[3]["input_ids"], packed.input_ids[int(chosen.order[3])].long())


def test_ranks_that_share_a_row_get_all_of_it_between_them(tmp_path: Path) -> None:
    stored = StoredRows([_written(tmp_path / "a", _packed())], 12)
    chosen = plan(stored.sizes, tokens=200, batch=4, seed=1, data=[])
    whole = PlannedRows(stored, chosen)
    shared = PlannedRows(stored, chosen, 2, Context(ranks=2, index=0, group=None))
    assert len(shared) == 2 * len(whole)
    for batch in range(len(whole) // 2):
        for inside in range(2):
            row = whole[batch * 2 + inside]
            parts = [shared[(batch * 2 + rank) * 2 + inside] for rank in range(2)]
            order = torch.cat([pieces(12, 2, rank) for rank in range(2)])
            for name in ("input_ids", "position_ids", "labels"):
                assert torch.equal(torch.cat([p[name] for p in parts]), row[name][order])
            assert all(torch.equal(p["document_ids"], row["document_ids"]) for p in parts)


def test_a_row_that_cannot_be_cut_evenly_is_bad_input() -> None:
    with pytest.raises(StageFailure, match="pieces"):
        pieces(10, 2, 0)
