"""`prepare`: seeded and given data, splits, and overlap against a slow reference."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from fretsaw_engine.data.packed import read_dataset
from fretsaw_engine.harmony.tokens import EFFORTS
from fretsaw_engine.job import Artifact, Job, StageFailure
from fretsaw_engine.methods.overlap import OverlapIndex
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint
from fretsaw_engine.stages import prepare

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_nano_checkpoint(folder, 1, layers=2)
    return folder


def _prepare(folder: Path, tokenizer: Path, *, exclude: tuple[Path, ...] = (), **settings: Any):
    source = settings.pop("source", None)
    inputs: dict[str, Any] = {"tokenizer": Artifact(digest="sha256:t", path=tokenizer)}
    if source is not None:
        inputs["source"] = Artifact(digest="sha256:s", path=source)
    if exclude:
        inputs["exclude"] = [Artifact(digest=f"sha256:{p.name}", path=p) for p in exclude]
    outputs = {"data": folder / "data", "removed": folder / "removed"}
    for output in outputs.values():
        output.mkdir(parents=True)
    job = Job(
        key="sha256:k", kind="prepare", version="1", attempt=1, settings=settings, inputs=inputs,
        outputs=outputs, resources={}, threads=1, folder=folder, resume=None, lease_seconds=0,
    )  # fmt: skip
    prepare.run(job)
    removed = [json.loads(line) for line in (folder / "removed/removed.jsonl").open()]
    return read_dataset(folder / "data"), removed


TASKS = {"generator": "rehearsal-tasks", "sequence_length": 96}


def test_shares_and_efforts_come_in_turn(tmp_path: Path, tokenizer: Path) -> None:
    shares = {"arithmetic": 2, "format": 1}
    found, removed = _prepare(
        tmp_path, tokenizer, **TASKS, split="train", examples=90, tasks=shares
    )
    assert not removed
    counts = Counter((e["task"], e["effort"]) for e in found.examples)
    assert counts == {
        **{("arithmetic", effort): 20 for effort in EFFORTS},
        **{("format", effort): 10 for effort in EFFORTS},
    }
    assert found.packed is not None
    assert int(found.packed.document_ids.max()) == 89


def test_equal_settings_give_equal_bytes(tmp_path: Path, tokenizer: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        _prepare(tmp_path / name, tokenizer, **TASKS, split="train", examples=30, seed=seed)

    def content(name: str) -> list[bytes]:
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        return [p.read_bytes() for p in files if p.name != "events.jsonl"]

    assert content("a") == content("b") != content("c")


def test_prompts_only(tmp_path: Path, tokenizer: Path) -> None:
    found, _ = _prepare(
        tmp_path, tokenizer, **TASKS, split="heldout", examples=9, with_targets=False
    )
    assert found.packed is None
    assert all(e["messages"][-1]["role"] == "user" for e in found.examples)
    assert all(e["answer"] and e["scorer"] for e in found.examples)


def test_excluded_examples_are_listed(tmp_path: Path, tokenizer: Path) -> None:
    same = {**TASKS, "split": "train", "tasks": {"format": 1}}
    first, _ = _prepare(tmp_path / "first", tokenizer, **same, examples=20)
    second, removed = _prepare(
        tmp_path / "second", tokenizer, **same, examples=20, exclude=(tmp_path / "first/data",)
    )
    assert {e["id"] for e in removed} == {e["id"] for e in first.examples}
    assert {e["reason"] for e in removed} == {"overlap"}
    assert not {e["id"] for e in first.examples} & {e["id"] for e in second.examples}
    summary = json.loads((tmp_path / "second/removed/summary.json").read_text())
    assert summary["by_reason"] == {"overlap": 20}


def _write_source(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = random.Random(1)
    with (folder / "rows.jsonl").open("w") as out:
        for number in range(count):
            words = " ".join(rng.choice(["fig", "kiwi", "oak"]) for _ in range(12))
            messages = [
                {"role": "user", "content": f"{words} {number % 100} {number // 100}"},
                {"role": "assistant", "content": "oak", "thinking": "fig kiwi"},
            ]
            out.write(json.dumps({"messages": messages, "answer": "oak", "scorer": "exact"}) + "\n")
    return folder


def test_given_rows_fall_into_disjoint_splits(tmp_path: Path, tokenizer: Path) -> None:
    source = _write_source(tmp_path / "source", 400)
    asked = {"train": 200, "calibration": 20, "heldout": 20}
    seen: list[set[str]] = []
    for split, examples in asked.items():
        found, _ = _prepare(
            tmp_path / split, tokenizer, source=source, split=split, examples=examples
        )
        seen.append({e["messages"][0]["content"] for e in found.examples})
    assert [len(s) for s in seen] == list(asked.values())
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    with pytest.raises(StageFailure, match="asked for"):
        _prepare(tmp_path / "more", tokenizer, source=source, split="heldout", examples=400)


def test_long_and_unanswered_rows_are_listed(tmp_path: Path, tokenizer: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    user = {"role": "user", "content": "fig"}
    rows = []
    for number in range(100):
        question = {**user, "content": f"fig {number}"}
        answer = {"role": "assistant", "content": "oak " * (60 if number % 2 else 1)}
        rows.append({"messages": [question] if number % 5 == 0 else [question, answer]})
    (source / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    _, removed = _prepare(
        tmp_path, tokenizer, source=source, split="train", examples=25, sequence_length=32
    )
    assert {e["reason"] for e in removed} == {"too-long", "no-answer"}


@pytest.mark.parametrize(
    "line", ["{", "{}", '{"messages": []}', '{"messages": [{"role": "tool", "content": "x"}]}']
)
def test_a_bad_row_says_where(tmp_path: Path, tokenizer: Path, line: str) -> None:
    source = _write_source(tmp_path / "source", 3)
    with (source / "rows.jsonl").open("a") as out:
        out.write(line + "\n")
    with pytest.raises(StageFailure, match=r"rows\.jsonl:4"):
        _prepare(tmp_path, tokenizer, source=source, split="train", examples=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generator": "chess"}, "unknown generator"),
        ({"split": "test"}, "unknown split"),
        ({"efforts": ["max"]}, "unknown efforts"),
        ({"tasks": {"chess": 1}}, "unknown tasks"),
        ({"tasks": {"recall": 0}}, "no task has a share"),
        ({"example": 3}, "unknown settings"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, tokenizer: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(StageFailure, match=message):
        _prepare(tmp_path, tokenizer, **{**TASKS, "split": "train", "examples": 3, **settings})


def test_overlap_against_every_pair_of_runs() -> None:
    rng = random.Random(3)
    texts = [" ".join(rng.choice("abcd") for _ in range(rng.randint(1, 12))) for _ in range(200)]
    kept_out, asked = texts[:30], texts[30:]
    for size in (1, 3, 5):
        index = OverlapIndex(size)
        index.add(kept_out, "here")
        for text in asked:
            words = text.split()
            slow = False
            for other in kept_out:
                theirs = other.split()
                if min(len(words), len(theirs)) < size:
                    slow = slow or words == theirs
                    continue
                mine = [words[i : i + size] for i in range(len(words) - size + 1)]
                slow = slow or any(
                    theirs[i : i + size] in mine for i in range(len(theirs) - size + 1)
                )
            assert (index.find([text]) is not None) == slow
