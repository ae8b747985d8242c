"""Weights of an average by trying them: every point of a grid is made, answered with, and kept in a
table.

The questions must not be those of the final evaluation: whoever chooses by a set of questions has
trained on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from fretsaw_engine.harmony.render import Renderer, parse
from fretsaw_engine.harmony.tokens import EFFORTS
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.generate.answers import question_of
from fretsaw_engine.methods.generate.decode import Sampling, decode
from fretsaw_engine.rehearsal.scorers import score
from fretsaw_engine.training.settings import require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepSettings:
    """`steps` of 4 tries shares of 0, 1/4 ... 1; `examples` at each effort."""

    max_new_tokens: dict[str, int]
    steps: int = 4
    examples: int = 64
    batch_size: int = 64
    efforts: list[str] = field(default_factory=lambda: list(EFFORTS))

    def __post_init__(self) -> None:
        require(self.steps > 0, "sweep.steps must be above 0")
        require(self.examples > 0, "sweep.examples must be above 0")
        unknown = sorted(set(self.efforts) - set(EFFORTS))
        require(not unknown and bool(self.efforts), f"sweep.efforts: unknown {unknown}")
        missing = sorted(set(self.efforts) - set(self.max_new_tokens))
        require(not missing, f"sweep.max_new_tokens: none for {missing}")


def grid(models: int, steps: int) -> list[list[float]]:
    """All shares in steps of 1/steps that sum to 1, in lexical order."""
    counts = (c for c in product(range(steps + 1), repeat=models) if sum(c) == steps)
    return [[count / steps for count in each] for each in counts]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One question at one effort."""

    effort: str
    ids: list[int]
    answer: str
    scorer: str


def questions(
    examples: Sequence[Mapping[str, Any]], renderer: Renderer, settings: SweepSettings
) -> list[Asked]:
    """The first checkable examples, each at every effort, shortest first."""
    checkable = {e["id"]: e for e in examples if e["scorer"] is not None}
    if not checkable:
        raise StageFailure("BAD_INPUT", "the data set has no prompt whose answer can be checked")
    asked = [
        Asked(
            effort=effort,
            ids=renderer.prompt(question_of(example), effort),
            answer=example["answer"],
            scorer=example["scorer"],
        )
        for example in list(checkable.values())[: settings.examples]
        for effort in settings.efforts
    ]
    return sorted(asked, key=lambda question: len(question.ids))


def evaluate(
    model: Any, asked: Sequence[Asked], settings: SweepSettings, tokenizer: Any, stop: list[int]
) -> dict[str, Any]:
    """Accuracy and mean tokens of greedy answers, by effort and over all efforts."""
    found: dict[str, list[tuple[float, int]]] = {effort: [] for effort in settings.efforts}
    for effort in settings.efforts:
        mine = [question for question in asked if question.effort == effort]
        sampling = Sampling(max_new_tokens=settings.max_new_tokens[effort], temperature=0.0)
        for start in range(0, len(mine), settings.batch_size):
            part = mine[start : start + settings.batch_size]
            seeds = [0] * len(part)
            prompts = [question.ids for question in part]
            answers = decode(model, prompts, seeds, sampling, stop, tokenizer.pad_token_id)
            for question, answer in zip(part, answers, strict=True):
                final = parse(tokenizer.decode(answer.ids, skip_special_tokens=False)).final
                right = score(question.scorer, question.answer, final)
                found[effort].append((right, len(answer.ids)))
    efforts = {
        effort: {
            "examples": len(rows),
            "accuracy": sum(right for right, _ in rows) / len(rows),
            "mean_tokens": sum(tokens for _, tokens in rows) / len(rows),
        }
        for effort, rows in found.items()
    }
    return {
        "accuracy": sum(cell["accuracy"] for cell in efforts.values()) / len(efforts),
        "mean_tokens": sum(cell["mean_tokens"] for cell in efforts.values()) / len(efforts),
        "efforts": efforts,
    }


def best(rows: Sequence[Mapping[str, Any]]) -> int:
    """The row with the highest accuracy; of equals the one with fewer tokens, then the first."""
    return min(
        range(len(rows)), key=lambda at: (-rows[at]["accuracy"], rows[at]["mean_tokens"], at)
    )
