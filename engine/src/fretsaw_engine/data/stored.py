"""Packed rows read from a data set's shards when they are asked for, never all at once.

84 billion tokens are 1.3 TB of shards. What is kept in memory is where every row lies and how many
tokens it has. A data set whose rows have another length than the one asked for is packed anew, by
places: a row is then a list of documents, wherever they lie.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from fretsaw_engine.data.packed import PADDING, SCHEMA, TENSORS, TokenDocument, first_fit
from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OPEN_FILES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Tokens `start` to `stop` of one stored row."""

    shard: Path
    row: int
    start: int
    stop: int


Row = list[Place]


class StoredRows:
    """All rows of some data sets, each `sequence_length` long."""

    def __init__(self, folders: Sequence[Path], sequence_length: int) -> None:
        self.length = sequence_length
        self.trained_tokens = 0
        """Tokens that the assistant wrote, over all rows."""
        self._rows: list[Row] = []
        sizes: list[int] = []
        for folder in folders:
            description = _description(folder)
            self.trained_tokens += description["trained_tokens"]
            shards = [
                folder / "shards" / f"{number:05d}.safetensors"
                for number in range(description["shards"])
            ]
            same = description["sequence_length"] == sequence_length
            found = _whole(shards) if same else _packed_anew(shards, sequence_length)
            for row, size in found:
                self._rows.append(row)
                sizes.append(size)
        self.sizes = torch.tensor(sizes, dtype=torch.int64)
        """Tokens of every row, without padding."""
        if not self._rows:
            raise StageFailure("BAD_INPUT", "no data set has packed rows to train on")

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> dict[str, torch.Tensor]:
        """`input_ids`, `position_ids`, `document_ids`, `loss_mask`, each [T]. Document ids are
        unique within the row only."""
        places = self._rows[index]
        if len(places) == 1 and places[0].stop == self.length and places[0].start == 0:
            return {name: _read(places[0], name) for name in TENSORS}
        found = {name: torch.zeros(self.length, dtype=torch.int32) for name in TENSORS}
        found["document_ids"].fill_(PADDING)
        at = 0
        for number, place in enumerate(places):
            part = slice(at, at + place.stop - place.start)
            for name in TENSORS:
                found[name][part] = number if name == "document_ids" else _read(place, name)
            at = part.stop
        return found


def _description(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema {found['schema']}")
        if missing := {"shards", "trained_tokens", "sequence_length"} - set(found):
            raise ValueError(f"no {sorted(missing)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageFailure("BAD_INPUT", f"data set {folder}: {error!r}") from error
    return found


def _whole(shards: Sequence[Path]) -> Iterator[tuple[Row, int]]:
    for shard in shards:
        owners_RT = _open(shard).get_tensor("document_ids")
        sizes = (owners_RT != PADDING).sum(1).tolist()
        for row, size in enumerate(sizes):
            yield [Place(shard=shard, row=row, start=0, stop=owners_RT.shape[1])], size


@dataclass(frozen=True, slots=True)
class _Lying:
    """A document that is only a place: as long as it is, for `first_fit`."""

    place: Place

    @property
    def ids(self) -> range:
        return range(self.place.start, self.place.stop)

    @property
    def mask(self) -> range:
        return self.ids


def _packed_anew(shards: Sequence[Path], sequence_length: int) -> Iterator[tuple[Row, int]]:
    documents: Iterator[TokenDocument] = (
        _Lying(place) for shard in shards for place in _documents(shard)
    )
    for row in first_fit(documents, sequence_length):
        places = [document.place for document in row]  # type: ignore[attr-defined]
        yield places, sum(place.stop - place.start for place in places)


def _documents(shard: Path) -> Iterator[Place]:
    """Documents in the order in which they lie."""
    for row, owner_T in enumerate(_open(shard).get_tensor("document_ids")):
        owners, counts = torch.unique_consecutive(owner_T, return_counts=True)
        start = 0
        for owner, count in zip(owners.tolist(), counts.tolist(), strict=True):
            if owner != PADDING:
                yield Place(shard=shard, row=row, start=start, stop=start + count)
            start += count


def _read(place: Place, name: str) -> torch.Tensor:
    part = _open(place.shard).get_slice(name)[place.row : place.row + 1, place.start : place.stop]
    return part[0]


@lru_cache(maxsize=OPEN_FILES)
def _open(shard: Path) -> Any:
    try:
        file = safe_open(shard, framework="pt")
        if set(file.keys()) != set(TENSORS):  # noqa: SIM118
            raise ValueError("holds other tensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise StageFailure("BAD_INPUT", f"{shard}: {error}") from error
    return file
