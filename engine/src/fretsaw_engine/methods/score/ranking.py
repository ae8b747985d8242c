"""Reading `ranking.json`: the experts of every layer, best first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read_ranking(folder: Path, counts: Sequence[int]) -> list[list[int]]:
    """Expert ids of every layer; BAD_INPUT unless each layer ranks all of its `counts` experts."""
    path = folder / "ranking.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        orders = [[entry["expert"] for entry in layer["experts"]] for layer in document["layers"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageFailure("BAD_INPUT", f"ranking {path}: {error!r}") from error
    if [sorted(order) for order in orders] != [list(range(count)) for count in counts]:
        raise StageFailure("BAD_INPUT", f"ranking {path} is not one of this model's experts")
    return orders
