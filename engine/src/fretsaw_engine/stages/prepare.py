"""`prepare`: a data set as packed, seeded rows in the Harmony format.

Examples come from a seeded generator (`rehearsal-tasks`) or from the JSON lines of the input
`source`, one `{"messages": [{"role", "content", "thinking"?}], "answer"?, "scorer"?, "effort"?,
"id"?}` each. The content of an example decides its split, so train, calibration and held-out sets
are disjoint by themselves; what overlaps with the input `exclude` all the same is removed, and
listed in the output `removed` with the reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from fretsaw_engine.data.packed import file_digest, pack, read_dataset, write_dataset
from fretsaw_engine.harmony.render import tokenizer_renderer
from fretsaw_engine.harmony.tokens import EFFORTS
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.overlap import OverlapIndex
from fretsaw_engine.moe.checkpoint import load_tokenizer
from fretsaw_engine.rehearsal import tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from fretsaw_engine.harmony.render import Document, Renderer
    from fretsaw_engine.job import Job

GENERATOR = "rehearsal-tasks"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PrepareSettings:
    """What `prepare` is asked for; `tasks` are shares, all alike when empty."""

    split: str
    examples: int
    generator: str | None = None
    efforts: tuple[str, ...] = EFFORTS
    tasks: dict[str, float] = dataclasses.field(default_factory=dict)
    sequence_length: int = 256
    seed: int = 1
    overlap_ngram: int = 13
    with_targets: bool = True


@dataclasses.dataclass(kw_only=True, slots=True)
class Kept:
    """What came of the candidates: lines of examples.jsonl, documents to pack, and the removed."""

    examples: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    documents: list[Document] = dataclasses.field(default_factory=list)
    removed: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def run(job: Job) -> None:
    settings = parse_settings(job.settings)
    source = job.optional_input("source")
    if (source is None) == (settings.generator is None):
        raise StageFailure("BAD_INPUT", "give the input `source` or a `generator`, and not both")
    tokenizer_folder = job.input("tokenizer").path
    tokenizer = load_tokenizer(tokenizer_folder)
    index = OverlapIndex(settings.overlap_ngram)
    for artifact in job.input_list("exclude"):
        for example in read_dataset(artifact.path).examples:
            index.add(_texts(example), artifact.digest)
    candidates = generated(settings) if source is None else from_files(settings, source.path)
    kept = select(candidates, settings, index, tokenizer_renderer(tokenizer))
    if len(kept.examples) < settings.examples:
        raise StageFailure(
            "BAD_INPUT",
            f"{settings.examples} {settings.split} examples asked for, {len(kept.examples)} found "
            f"({len(kept.removed)} removed)",
            dict(Counter(entry["reason"] for entry in kept.removed)),
        )
    packed = None
    if settings.with_targets:
        packed = pack(kept.documents, settings.sequence_length, tokenizer.pad_token_id or 0)
    write_dataset(
        job.outputs["data"],
        examples=kept.examples,
        packed=packed,
        description={
            "split": settings.split,
            "generator": settings.generator,
            "seed": settings.seed,
            "with_targets": settings.with_targets,
            "tokenizer_digest": file_digest(tokenizer_folder / "tokenizer.json"),
            "by_task": dict(Counter(example["task"] for example in kept.examples)),
            "by_effort": dict(Counter(example["effort"] for example in kept.examples)),
        },
    )
    _write_removed(job.outputs["removed"], kept)
    job.progress(settings.examples, settings.examples, unit="examples")


def parse_settings(raw: dict[str, Any]) -> PrepareSettings:
    """Settings from JSON; unknown keys and impossible values are BAD_INPUT."""
    known = {field.name for field in dataclasses.fields(PrepareSettings)}
    if unknown := sorted(set(raw) - known):
        raise StageFailure("BAD_INPUT", f"unknown settings {unknown}; known: {sorted(known)}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    try:
        settings = PrepareSettings(**values)
    except TypeError as error:
        raise StageFailure("BAD_INPUT", f"settings: {error}") from error
    if settings.split not in tasks.SPLITS:
        raise StageFailure("BAD_INPUT", f"unknown split {settings.split}; known: {tasks.SPLITS}")
    if not settings.efforts or set(settings.efforts) - set(EFFORTS):
        raise StageFailure("BAD_INPUT", f"unknown efforts {settings.efforts}; known: {EFFORTS}")
    if settings.generator not in (None, GENERATOR):
        raise StageFailure(
            "BAD_INPUT", f"unknown generator {settings.generator}; known: {GENERATOR}"
        )
    if unknown := sorted(set(settings.tasks) - set(tasks.TASKS)):
        raise StageFailure("BAD_INPUT", f"unknown tasks {unknown}; known: {sorted(tasks.TASKS)}")
    return settings


def generated(settings: PrepareSettings) -> Iterator[dict[str, Any]]:
    """Endless examples of the seeded tasks by their shares, the efforts of each in turn."""
    shares = settings.tasks or dict.fromkeys(tasks.TASKS, 1.0)
    shares = {task: share for task, share in shares.items() if share > 0}
    if not shares:
        raise StageFailure("BAD_INPUT", "no task has a share")
    streams = {
        task: tasks.stream(task, tasks.read_settings(task, {}), settings.split, settings.seed)
        for task in shares
    }
    count = dict.fromkeys(shares, 0)
    while True:
        # The task that is furthest behind its share comes next; ties go by the order of TASKS.
        task = min(
            (t for t in tasks.TASKS if t in shares), key=lambda t: (count[t] + 1) / shares[t]
        )
        example = next(streams[task])
        effort = settings.efforts[count[task] % len(settings.efforts)]
        count[task] += 1
        target = example.targets[effort]
        assistant = {"role": "assistant", "content": target.final, "thinking": target.analysis}
        yield {
            "id": example.id,
            "task": task,
            "effort": effort,
            "messages": [*example.messages, assistant],
            "answer": example.answer,
            "scorer": example.scorer,
        }


def from_files(settings: PrepareSettings, folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a folder of JSON lines that belong to the split, in an order that the seed
    decides.
    """
    rows: list[tuple[str, dict[str, Any]]] = []
    seen: set[str] = set()
    for path in sorted(folder.rglob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{path.relative_to(folder)}:{number}"
            row = _row(line, where)
            questions = [m["content"] for m in row["messages"] if m["role"] == "user"]
            digest = hashlib.sha256("\n".join(questions).encode()).hexdigest()
            if digest in seen or _split(digest) != settings.split:
                continue
            seen.add(digest)
            order = hashlib.sha256(f"{settings.seed}/{digest}".encode()).hexdigest()
            rows.append((order, {**row, "id": row.get("id") or digest[:16]}))
    rows.sort(key=lambda entry: entry[0])
    for at, (_, row) in enumerate(rows):
        effort = row.get("effort") or settings.efforts[at % len(settings.efforts)]
        yield {
            "id": row["id"],
            "task": row.get("task") or "source",
            "effort": effort,
            "messages": row["messages"],
            "answer": row.get("answer"),
            "scorer": row.get("scorer"),
        }


def select(
    candidates: Iterable[dict[str, Any]],
    settings: PrepareSettings,
    index: OverlapIndex,
    renderer: Renderer,
) -> Kept:
    """Take candidates in order until there are enough; note down every one that is refused, and
    why.
    """
    kept = Kept()
    for example in candidates:
        if len(kept.examples) == settings.examples:
            break
        overlap = index.find(_texts(example))
        if overlap is not None:
            run, origin = overlap
            kept.removed.append(
                {"id": example["id"], "reason": "overlap", "with": origin, "text": run}
            )
            continue
        answered = example["messages"][-1]["role"] == "assistant"
        if settings.with_targets:
            if not answered:
                kept.removed.append({"id": example["id"], "reason": "no-answer"})
                continue
            document = renderer.document(example["messages"], example["effort"])
            if len(document.ids) > settings.sequence_length:
                entry = {"id": example["id"], "reason": "too-long", "tokens": len(document.ids)}
                kept.removed.append(entry)
                continue
            kept.documents.append(document)
        elif answered:
            example = {**example, "messages": example["messages"][:-1]}
        kept.examples.append(example)
    return kept


def _split(digest: str) -> str:
    return {0: "heldout", 1: "calibration"}.get(int(digest[:8], 16) % 10, "train")


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        messages = row["messages"]
        ok = bool(messages) and all(
            message["role"] in ("user", "assistant") and isinstance(message["content"], str)
            for message in messages
        )
        ok = ok and row.get("effort") in (None, *EFFORTS)
    except (ValueError, KeyError, TypeError) as error:
        raise StageFailure("BAD_INPUT", f"{where}: not a chat example: {error}") from error
    if not ok:
        raise StageFailure(
            "BAD_INPUT", f"{where}: messages need roles user and assistant, and text"
        )
    return row


def _texts(example: dict[str, Any]) -> list[str]:
    """What an example asks: the answers are the model's own and may be alike."""
    return [message["content"] for message in example["messages"] if message["role"] == "user"]


def _write_removed(folder: Path, kept: Kept) -> None:
    with (folder / "removed.jsonl").open("w", encoding="utf-8") as out:
        for entry in kept.removed:
            out.write(json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n")
    summary = {
        "schema": "fretsaw/removed/v1",
        "kept": len(kept.examples),
        "removed": len(kept.removed),
        "by_reason": dict(Counter(entry["reason"] for entry in kept.removed)),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
