"""The checksum by which a training sees that nothing frozen has moved."""

from __future__ import annotations

import pytest
import torch

from fretsaw_engine.training import frozen
from fretsaw_engine.training.frozen import checksum


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8])
def test_one_bit_anywhere_changes_the_checksum(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    tensor = (torch.randn(5, 7, generator=generator) * 50).to(dtype)
    before = checksum(tensor)
    raw = tensor.view(-1).view(torch.uint8)
    for at in range(len(raw)):
        for bit in range(8):
            raw[at] ^= 1 << bit
            assert checksum(tensor) != before, (at, bit)
            raw[at] ^= 1 << bit
    assert checksum(tensor) == before


def test_two_values_that_change_places_change_the_checksum() -> None:
    tensor = torch.arange(1000, dtype=torch.float32)
    before = checksum(tensor)
    tensor[[3, 900]] = tensor[[900, 3]]
    assert checksum(tensor) != before


def test_parts_and_strides_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.randn(64, 48, generator=torch.Generator().manual_seed(4))
    whole = checksum(tensor)
    assert checksum(tensor.T.contiguous().T) == whole
    monkeypatch.setattr(frozen, "_CHECKED_AT_ONCE", 100)
    assert checksum(tensor) == whole
