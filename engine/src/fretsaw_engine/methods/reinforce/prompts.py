"""Which prompts an RL run sees, in which order, at which effort: a plan made before the first
step.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.harmony.tokens import EFFORTS
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.generate.answers import question_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fretsaw_engine.harmony.render import Renderer


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One prompt of one step. All answers to it form a group."""

    id: str
    task: str
    effort: str
    ids: list[int]
    text: str
    answer: str
    scorer: str


def plan_prompts(
    examples: Sequence[Mapping[str, Any]],
    renderer: Renderer,
    tokenizer: Any,
    *,
    count: int,
    shares: Mapping[str, float],
    seed: int,
) -> list[Prompt]:
    """`count` prompts: passes over the distinct examples, each in a new order, efforts by largest
    remainder.
    """
    checkable = (example for example in examples if example["scorer"] is not None)
    distinct = list({example["id"]: example for example in checkable}.values())
    if not distinct:
        raise StageFailure("BAD_INPUT", "the data set has no prompt whose answer can be checked")
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < count:
        order += torch.randperm(len(distinct), generator=generator).tolist()
    efforts = [effort for effort, n in apportion(count, shares).items() for _ in range(n)]
    mixed = [efforts[at] for at in torch.randperm(count, generator=generator).tolist()]
    planned = []
    for index, effort in zip(order[:count], mixed, strict=True):
        example = distinct[index]
        ids = renderer.prompt(question_of(example), effort)
        planned.append(
            Prompt(
                id=example["id"],
                task=example["task"],
                effort=effort,
                ids=ids,
                text=tokenizer.decode(ids, skip_special_tokens=False),
                answer=example["answer"],
                scorer=example["scorer"],
            )
        )
    return planned


def apportion(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """`count` as whole numbers in proportion to `shares`: largest remainder, ties in the order of
    EFFORTS.
    """
    total = sum(shares.values())
    exact = {effort: count * shares[effort] / total for effort in EFFORTS if shares.get(effort)}
    whole = {effort: int(value) for effort, value in exact.items()}
    by_remainder = sorted(exact, key=lambda effort: whole[effort] - exact[effort])
    for effort in by_remainder[: count - sum(whole.values())]:
        whole[effort] += 1
    return whole


def plan_digest(planned: Sequence[Prompt]) -> str:
    """What a resumed run compares: the whole plan."""
    digest = hashlib.sha256()
    for prompt in planned:
        line = [prompt.id, prompt.effort, prompt.ids, prompt.answer, prompt.scorer]
        digest.update(json.dumps(line).encode())
    return f"sha256:{digest.hexdigest()}"
