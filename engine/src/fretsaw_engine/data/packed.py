"""Data sets of chat examples, packed into rows of one length.

A data set is a folder:

- `dataset.json`: schema `fretsaw/dataset/v1`, counts, sequence length, split, digest of the
tokenizer;
- `examples.jsonl`: one example a line (id, task, effort, messages, answer, scorer, optional
`completion` ids);
- `shards/<n>.safetensors`: the packed rows, absent where there is nothing to train on.

A shard holds, each int32 [rows, sequence_length]: `input_ids`; `position_ids`, which restart at
every document; `document_ids`, the line of the document in examples.jsonl, or -1 over padding;
`loss_mask`, 1 where the assistant wrote the token. No token may attend across documents:
`attention_mask` says so to a model.

Shape suffixes: R rows, T tokens of a row.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save_file

from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

SCHEMA = "fretsaw/dataset/v1"
PADDING = -1
TENSORS = ("input_ids", "position_ids", "document_ids", "loss_mask")
DEFAULT_ROWS_PER_SHARD = 4096


class TokenDocument(Protocol):
    """Ids and the mask over what is trained on, equally long (harmony.render.Document is one)."""

    @property
    def ids(self) -> Sequence[int]: ...

    @property
    def mask(self) -> Sequence[int]: ...


AnyDocument = TypeVar("AnyDocument", bound=TokenDocument)


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """Rows of documents; every field int32 [R, T] as the module says."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    document_ids: torch.Tensor
    loss_mask: torch.Tensor

    def rows(self, start: int, stop: int) -> Packed:
        return Packed(**{name: getattr(self, name)[start:stop] for name in TENSORS})

    def __len__(self) -> int:
        return self.input_ids.shape[0]


class _Rows:
    """Rows being filled: a document goes into the first row that has room for it."""

    def __init__(self, sequence_length: int) -> None:
        self.length = sequence_length
        self.documents: list[list[tuple[int, TokenDocument]]] = []
        self.used: list[int] = []
        self._first_open = 0

    def place(self, index: int, document: TokenDocument, most_rows: int | None = None) -> bool:
        size = len(document.ids)
        if size > self.length:
            raise StageFailure(
                "BAD_INPUT",
                f"a document of {size} tokens does not fit {self.length}",
                {"line": index},
            )
        for row in range(self._first_open, len(self.used)):
            if self.used[row] + size <= self.length:
                self._put(row, index, document)
                return True
        if most_rows is not None and len(self.used) >= most_rows:
            return False
        self.documents.append([])
        self.used.append(0)
        self._put(len(self.used) - 1, index, document)
        return True

    def _put(self, row: int, index: int, document: TokenDocument) -> None:
        self.documents[row].append((index, document))
        self.used[row] += len(document.ids)
        while self._first_open < len(self.used) and self.used[self._first_open] == self.length:
            self._first_open += 1

    def tensors(self, pad_id: int) -> Packed:
        shape = (len(self.used), self.length)
        ids = torch.full(shape, pad_id, dtype=torch.int32)
        positions = torch.zeros(shape, dtype=torch.int32)
        owners = torch.full(shape, PADDING, dtype=torch.int32)
        mask = torch.zeros(shape, dtype=torch.int32)
        for row, documents in enumerate(self.documents):
            at = 0
            for index, document in documents:
                end = at + len(document.ids)
                ids[row, at:end] = torch.tensor(document.ids, dtype=torch.int32)
                positions[row, at:end] = torch.arange(end - at, dtype=torch.int32)
                owners[row, at:end] = index
                mask[row, at:end] = torch.tensor(document.mask, dtype=torch.int32)
                at = end
        return Packed(input_ids=ids, position_ids=positions, document_ids=owners, loss_mask=mask)


def pack(documents: Iterable[TokenDocument], sequence_length: int, pad_id: int = 0) -> Packed:
    """Pack all documents, first fit, in their order. A document longer than a row is BAD_INPUT."""
    rows = _Rows(sequence_length)
    for index, document in enumerate(documents):
        rows.place(index, document)
    return rows.tensors(pad_id)


def first_fit(
    documents: Iterable[AnyDocument], sequence_length: int
) -> Iterator[list[AnyDocument]]:
    """The documents of each row, as `pack` lays them out."""
    rows = _Rows(sequence_length)
    for index, document in enumerate(documents):
        rows.place(index, document)
    for row in rows.documents:
        yield [document for _, document in row]  # type: ignore[misc]


def fill(
    documents: Iterator[AnyDocument], rows: int, sequence_length: int, pad_id: int, misses: int = 8
) -> tuple[Packed, list[AnyDocument]]:
    """At most `rows` rows out of an endless stream; stops after `misses` documents that fit
    nowhere.

    Also gives the documents that found room, in the order of `document_ids`.
    """
    filled = _Rows(sequence_length)
    placed: list[AnyDocument] = []
    missed = 0
    while missed < misses:
        document = next(documents)
        if filled.place(len(placed), document, rows):
            placed.append(document)
        else:
            missed += 1
    return filled.tensors(pad_id), placed


def attention_mask(
    document_ids_RT: torch.Tensor, window: int | None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Additive mask [R, 1, T, T]: causal, within one document, and within `window` tokens (itself
    in).

    transformers' models take it as a prepared mask; GptOss takes a dict by layer type.
    """
    length = document_ids_RT.shape[1]
    at = torch.arange(length, device=document_ids_RT.device)
    distance_TT = at[:, None] - at[None, :]
    near_TT = distance_TT >= 0
    if window is not None:
        near_TT = near_TT & (distance_TT < window)
    same_RTT = document_ids_RT[:, :, None] == document_ids_RT[:, None, :]
    mask_RTT = torch.zeros(same_RTT.shape, dtype=dtype, device=document_ids_RT.device)
    mask_RTT.masked_fill_(~(same_RTT & near_TT), torch.finfo(dtype).min)
    return mask_RTT[:, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A data set that was read: description, examples, and rows (None: nothing packed)."""

    description: dict[str, Any]
    examples: list[dict[str, Any]]
    packed: Packed | None


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of one file."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def write_dataset(
    folder: Path,
    *,
    examples: Sequence[Mapping[str, Any]],
    packed: Packed | None,
    description: Mapping[str, Any],
    rows_per_shard: int = DEFAULT_ROWS_PER_SHARD,
) -> None:
    """Write a data set. `description` adds to what is counted (split, tokenizer_digest, ...)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "examples.jsonl").open("w", encoding="utf-8") as out:
        for example in examples:
            out.write(json.dumps(example, ensure_ascii=False, sort_keys=True) + "\n")
    shards = 0
    if packed is not None and len(packed):
        (folder / "shards").mkdir(exist_ok=True)
        for start in range(0, len(packed), rows_per_shard):
            part = packed.rows(start, start + rows_per_shard)
            save_file(
                {name: getattr(part, name).contiguous() for name in TENSORS},
                folder / "shards" / f"{shards:05d}.safetensors",
            )
            shards += 1
    counted = {
        "schema": SCHEMA,
        "examples": len(examples),
        "rows": 0 if packed is None else len(packed),
        "shards": shards,
        "tokens": 0 if packed is None else int((packed.document_ids != PADDING).sum()),
        "trained_tokens": 0 if packed is None else int(packed.loss_mask.sum()),
        "sequence_length": None if packed is None else packed.input_ids.shape[1],
    }
    if clash := set(counted) & set(description):
        raise StageFailure("ENGINE_BUG", f"write_dataset counts {sorted(clash)} itself")
    text = json.dumps({**counted, **description}, indent=2, sort_keys=True) + "\n"
    (folder / "dataset.json").write_text(text, encoding="utf-8")


def read_dataset(folder: Path) -> Dataset:
    """Read a data set whole; anything that does not add up is BAD_INPUT."""
    try:
        description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        lines = (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()
        examples = [json.loads(line) for line in lines]
        parts = [
            load_file(folder / "shards" / f"{shard:05d}.safetensors")
            for shard in range(description["shards"])
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageFailure("BAD_INPUT", f"data set {folder}: {error}") from error
    except Exception as error:  # safetensors' own error type is not an OSError
        raise StageFailure("BAD_INPUT", f"data set {folder}: {error}") from error
    if description.get("schema") != SCHEMA or description.get("examples") != len(examples):
        raise StageFailure(
            "BAD_INPUT", f"data set {folder}: dataset.json does not fit its examples"
        )
    packed = None
    if parts:
        if any(set(part) != set(TENSORS) for part in parts):
            raise StageFailure("BAD_INPUT", f"data set {folder}: a shard holds other tensors")
        packed = Packed(**{name: torch.cat([part[name] for part in parts]) for name in TENSORS})
        if len(packed) != description.get("rows"):
            raise StageFailure("BAD_INPUT", f"data set {folder}: rows are missing")
    return Dataset(description=description, examples=examples, packed=packed)
