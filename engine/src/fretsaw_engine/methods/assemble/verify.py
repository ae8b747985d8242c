"""Proof from files alone that a child's experts are its parent's, byte for byte.

It reads safetensors by the format's description (8 bytes of header length, a JSON header, the data)
and nothing of what wrote them, one row at a time. An expert is its rows of the six expert tensors
and of the router's weight and bias. With a kept-expert map, row i of the child must equal row
`kept[i]` of the parent; without one the map is found: every row of the child must be some row of
the parent, in ascending order.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PARTS = (
    "experts.gate_up_proj_blocks",
    "experts.gate_up_proj_scales",
    "experts.gate_up_proj_bias",
    "experts.down_proj_blocks",
    "experts.down_proj_scales",
    "experts.down_proj_bias",
    "router.weight",
    "router.bias",
)
"""Tensors of `model.layers.<n>.mlp.` whose first axis is the expert."""

_LARGEST_HEADER = 100 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """Where a tensor lies. `offset` is from the start of the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int

    @property
    def rows(self) -> int:
        return self.shape[0]

    def row(self, index: int) -> bytes:
        width = self.size_bytes // self.rows
        with self.file.open("rb") as file:
            file.seek(self.offset + index * width)
            data = file.read(width)
        if len(data) != width:
            raise StageFailure("BAD_INPUT", f"{self.file} is cut short")
        return data


def verify_experts(
    child: Path, parent: Path, kept: Sequence[Sequence[int]] | None = None
) -> list[list[int]]:
    """The proven kept-expert map; FROZEN_MOVED names the first expert that is not the parent's."""
    own, source = stored_tensors(child), stored_tensors(parent)
    layers = layer_count(own)
    if layers != layer_count(source):
        raise StageFailure(
            "FROZEN_MOVED", f"the child has {layers} layers, the parent another number"
        )
    found = []
    for layer in range(layers):
        mine, theirs = _parts(own, child, layer), _parts(source, parent, layer)
        _check_layout(layer, mine, theirs)
        if kept is None:
            found.append(_find(layer, mine, theirs))
        else:
            _compare(layer, mine, theirs, kept[layer])
            found.append(list(kept[layer]))
    return found


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of every *.safetensors file of a checkpoint."""
    tensors: dict[str, StoredTensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in _header(file).items():
            if name in tensors:
                raise StageFailure("BAD_INPUT", f"{name} is in {tensors[name].file} and in {file}")
            tensors[name] = tensor
    if not tensors:
        raise StageFailure("BAD_INPUT", f"{folder} holds no safetensors file")
    return tensors


def layer_count(tensors: dict[str, StoredTensor]) -> int:
    found = (re.match(r"model\.layers\.(\d+)\.", name) for name in tensors)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _header(file: Path) -> dict[str, StoredTensor]:
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size - 8, _LARGEST_HEADER):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            entries = json.loads(stream.read(length))
        entries.pop("__metadata__", None)
        return {name: _stored(file, entry, 8 + length, size) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise StageFailure("BAD_INPUT", f"{file}: not a whole safetensors file: {error}") from error


def _stored(file: Path, entry: dict[str, Any], data_start: int, file_size: int) -> StoredTensor:
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= file_size - data_start:
        raise ValueError(f"data offsets {start} to {end} in {file_size - data_start} bytes")
    shape = tuple(entry["shape"])
    if math.prod(shape) and (end - start) % math.prod(shape):
        raise ValueError(f"{end - start} bytes for shape {shape}")
    return StoredTensor(
        file=file,
        dtype=entry["dtype"],
        shape=shape,
        offset=data_start + start,
        size_bytes=end - start,
    )


def _parts(tensors: dict[str, StoredTensor], folder: Path, layer: int) -> dict[str, StoredTensor]:
    names = {part: f"model.layers.{layer}.mlp.{part}" for part in PARTS}
    if missing := [name for name in names.values() if name not in tensors]:
        raise StageFailure("BAD_INPUT", f"{folder} has no {missing[0]}")
    return {part: tensors[name] for part, name in names.items()}


def _check_layout(
    layer: int, mine: dict[str, StoredTensor], theirs: dict[str, StoredTensor]
) -> None:
    for part in PARTS:
        a, b = mine[part], theirs[part]
        if a.dtype != b.dtype or a.shape[1:] != b.shape[1:]:
            raise StageFailure(
                "FROZEN_MOVED",
                f"layer {layer}, {part}: the child has {a.dtype} {list(a.shape)}, "
                f"the parent {b.dtype} {list(b.shape)}",
            )
    if len({tensor.rows for tensor in mine.values()}) != 1:
        raise StageFailure("FROZEN_MOVED", f"layer {layer}: the child's tensors differ in experts")


def _compare(
    layer: int,
    mine: dict[str, StoredTensor],
    theirs: dict[str, StoredTensor],
    kept: Sequence[int],
) -> None:
    rows = mine["router.bias"].rows
    if len(kept) != rows:
        raise StageFailure(
            "FROZEN_MOVED",
            f"layer {layer}: the map keeps {len(kept)} experts, the child has {rows}",
        )
    for row, expert in enumerate(kept):
        for part in PARTS:
            if mine[part].row(row) != theirs[part].row(expert):
                raise _moved(layer, row, f"its {part} is not that of the parent's expert {expert}")


def _find(layer: int, mine: dict[str, StoredTensor], theirs: dict[str, StoredTensor]) -> list[int]:
    by_digest = {
        _digests(theirs, expert): expert for expert in reversed(range(theirs["router.bias"].rows))
    }
    found: list[int] = []
    for row in range(mine["router.bias"].rows):
        digests = _digests(mine, row)
        expert = by_digest.get(digests)
        if expert is None:
            raise _moved(layer, row, _nearest(digests, by_digest))
        if found and expert <= found[-1]:
            raise _moved(layer, row, f"the parent's expert {expert} comes after {found[-1]}")
        found.append(expert)
    return found


def _digests(parts: dict[str, StoredTensor], row: int) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(parts[part].row(row)).digest() for part in PARTS)


def _nearest(digests: tuple[bytes, ...], known: dict[tuple[bytes, ...], int]) -> str:
    def equal(other: tuple[bytes, ...]) -> int:
        return sum(a == b for a, b in zip(digests, other, strict=True))

    best = max(known, key=equal)
    if equal(best) == 0:
        return "no expert of the parent has any of its tensors"
    differing = [p for p, a, b in zip(PARTS, digests, best, strict=True) if a != b]
    return f"its {', '.join(differing)} are not those of the parent's expert {known[best]}"


def _moved(layer: int, row: int, what: str) -> StageFailure:
    return StageFailure(
        "FROZEN_MOVED",
        f"layer {layer}, expert {row} of the child: {what}",
        {"layer": layer, "expert": row},
    )
