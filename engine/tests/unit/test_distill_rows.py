"""Which rows a distillation consumes, in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from training_rig import write_answers

from fretsaw_engine.data.packed import PADDING, Packed, pack, read_dataset
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.distill.rows import IGNORED, PlannedRows, join, labels, plan

if TYPE_CHECKING:
    from pathlib import Path


def _packed(rows: int = 10, length: int = 12) -> Packed:
    documents = [
        Document(ids=list(range(10, 10 + 5)), mask=[0, 0, 1, 1, 1]),
        Document(ids=list(range(20, 20 + 6)), mask=[0, 0, 0, 1, 1, 1]),
    ] * rows
    return pack(documents, length)


def test_labels_are_the_next_tokens_that_the_assistant_wrote_in_the_same_document() -> None:
    row = labels(_packed())[0].tolist()
    assert row == [IGNORED, 12, 13, 14, IGNORED, IGNORED, IGNORED, 23, 24, 25, IGNORED, IGNORED]


def test_every_pass_sees_every_row_once_in_another_order() -> None:
    packed = _packed(rows=12)
    chosen = plan(packed, tokens=3 * 11 * len(packed), batch=len(packed), seed=4)
    passes = chosen.order.view(-1, len(packed))
    assert chosen.steps == 3
    for one in passes:
        assert sorted(one.tolist()) == list(range(len(packed)))
    assert passes[0].tolist() != passes[1].tolist()


def test_a_plan_stops_at_the_first_step_with_enough_tokens() -> None:
    packed = _packed(rows=10)
    chosen = plan(packed, tokens=100, batch=3, seed=1)
    assert chosen.consumed[-1] >= 100 > chosen.consumed[-2]
    assert chosen.consumed[0] == 0
    assert len(chosen.order) == 3 * chosen.steps


def test_the_plan_depends_on_seed_and_data_and_says_so_in_its_digest() -> None:
    packed = _packed()
    same = plan(packed, tokens=100, batch=2, seed=1)
    again = plan(packed, tokens=100, batch=2, seed=1)
    other = plan(packed, tokens=100, batch=2, seed=2)
    changed = _packed()
    changed.input_ids[0, 0] = 99
    assert same.digest == again.digest
    assert same.digest != other.digest
    assert same.digest != plan(changed, tokens=100, batch=2, seed=1).digest


def test_data_of_another_length_is_packed_anew_without_losing_a_token(tmp_path: Path) -> None:
    packed = read_dataset(write_answers(tmp_path / "answers", count=20, length=80)).packed
    assert packed is not None
    joined = join([packed, packed], 160)
    assert joined.input_ids.shape[1] == 160
    for chosen, times in ((packed, 2), (joined, 1)):
        assert chosen is not None
        count = times * int((chosen.document_ids != PADDING).sum())
        assert count == int((joined.document_ids != PADDING).sum())
    assert int(joined.loss_mask.sum()) == 2 * int(packed.loss_mask.sum())
    assert sorted(joined.input_ids[joined.loss_mask == 1].tolist()) == sorted(
        2 * packed.input_ids[packed.loss_mask == 1].tolist()
    )


def test_no_rows_at_all_is_bad_input() -> None:
    with pytest.raises(StageFailure) as failure:
        join([], 16)
    assert failure.value.code == "BAD_INPUT"


def test_rows_come_in_the_plans_order() -> None:
    packed = _packed()
    chosen = plan(packed, tokens=200, batch=2, seed=1)
    rows = PlannedRows(packed, chosen)
    assert len(rows) == len(chosen.order)
    assert [int(rows[i]["row"]) for i in range(len(rows))] == chosen.order.tolist()
    assert torch.equal(rows[3]["input_ids"], packed.input_ids[int(chosen.order[3])].long())
