"""Calibration data as scoring and calibration read it.

Shape suffixes: N tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fretsaw_engine.data.packed import PADDING, TENSORS, Packed, file_digest
from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fretsaw_engine.data.packed import Dataset


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
