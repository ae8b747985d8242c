"""Packed rows under ready masks give what each document gives alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from training_rig import write_child, write_parent

from fretsaw_engine.data.packed import pack
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.methods.distill.models import hidden_states
from fretsaw_engine.moe.checkpoint import load_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("which", ["parent", "child"])
def test_a_document_in_a_packed_row_is_read_as_if_it_stood_alone(
    tmp_path: Path, which: str
) -> None:
    folder = write_parent(tmp_path / "parent")
    if which == "child":
        folder = write_child(tmp_path / "child", folder)
    model = load_model(folder)
    generator = torch.Generator().manual_seed(1)
    documents = [
        torch.randint(10, 250, (size,), generator=generator).tolist() for size in (9, 14, 7)
    ]
    packed = pack([Document(ids=ids, mask=[1] * len(ids)) for ids in documents], 32)
    with torch.no_grad():
        together = hidden_states(
            model,
            {
                "input_ids": packed.input_ids.long(),
                "position_ids": packed.position_ids.long(),
                "document_ids": packed.document_ids,
            },
        )
        at = 0
        for ids in documents:
            alone = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
            torch.testing.assert_close(together[0, at : at + len(ids)], alone, rtol=1e-4, atol=1e-5)
            at += len(ids)
