"""Seeded tasks in which effort and long context matter, small enough for a model of two million
weights.

- `arithmetic`: `sum a 3 b 8 c 5 ?` -> `16`. High effort writes label, operand and running sum of
every step, medium leaves the operand out, low has to answer in one go.
- `recall`: `recall kiwi 42 fig 17 ... ? fig` -> `fig 17`. The pair may lie further back than
windows reach.
- `format`: `say reverse dash kiwi fig oak ?` -> `oak - fig - kiwi`. High effort drafts before it
answers.

An example is decided by (task, settings, split, seed, index). Splits draw from disjoint seeds, and
the content of an example decides which split may hold it at all, so that no held-out example can
occur in training whatever the seeds.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fretsaw_engine.harmony.tokens import EFFORTS, LABELS, NOUNS

if TYPE_CHECKING:
    from collections.abc import Iterator

SPLITS = ("train", "calibration", "heldout")
"""Of all contents a tenth is held out, a tenth is for calibration, the rest for training."""

STYLES = ("plain", "comma", "dash", "count", "twice")


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A reference answer at one effort. `analysis` is empty where the model answers at once."""

    analysis: str
    final: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One question. `scorer` is `number` or `exact`, see scorers.py."""

    id: str
    task: str
    prompt: str
    answer: str
    scorer: str
    targets: dict[str, Target]

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.prompt}]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArithmeticSettings:
    """Sums of `operands` single digits (bounds, both in)."""

    operands: tuple[int, int] = (6, 9)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallSettings:
    """Lists of `pairs` words and numbers. The value asked for lies at least `beyond` tokens before
    the end of the question: more than window x layers, and no windowed model can know it."""

    pairs: tuple[int, int] = (20, 24)
    beyond: int = 34


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatSettings:
    """Orders over `words` words."""

    words: tuple[int, int] = (3, 4)


TaskSettings = ArithmeticSettings | RecallSettings | FormatSettings

TASKS: dict[str, type[TaskSettings]] = {
    "arithmetic": ArithmeticSettings,
    "recall": RecallSettings,
    "format": FormatSettings,
}


def read_settings(task: str, raw: dict[str, Any]) -> TaskSettings:
    """Settings of a task from JSON; an unknown task or key is an error."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task}; known: {', '.join(TASKS)}")
    known = set(asdict(TASKS[task]()))
    if unknown := sorted(set(raw) - known):
        raise ValueError(f"task {task}: unknown settings {unknown}; known: {sorted(known)}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    return TASKS[task](**values)


def draw(task: str, settings: TaskSettings, rng: random.Random) -> Example:
    """One example of any split."""
    match settings:
        case ArithmeticSettings():
            return _arithmetic(settings, rng)
        case RecallSettings():
            return _recall(settings, rng)
        case FormatSettings():
            return _format(settings, rng)
    raise ValueError(f"task {task} cannot be drawn from {settings!r}")


def split_of(example: Example) -> str:
    """The split that may hold this example: a hash of its content decides."""
    lot = int(example.id[:8], 16) % 10
    return {0: "heldout", 1: "calibration"}.get(lot, "train")


def stream(task: str, settings: TaskSettings, split: str, seed: int) -> Iterator[Example]:
    """Endless examples of one split, all different."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split}; known: {', '.join(SPLITS)}")
    rng = seeded(f"fretsaw/rehearsal/{split}/{seed}/{task}")
    seen: set[str] = set()
    barren = 0
    while barren < 100_000:
        example = draw(task, settings, rng)
        barren += 1
        if split_of(example) == split and example.id not in seen:
            seen.add(example.id)
            barren = 0
            yield example
    raise ValueError(f"task {task}: no more different {split} examples under {settings!r}")


def seeded(text: str) -> random.Random:
    """A random generator that depends on nothing but `text`."""
    return random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def _example(task: str, prompt: str, answer: str, scorer: str, targets: list[Target]) -> Example:
    digest = hashlib.sha256(f"{task}\n{prompt}".encode()).hexdigest()
    by_effort: dict[str, Target] = dict(zip(EFFORTS, targets, strict=True))
    return Example(
        id=digest[:16], task=task, prompt=prompt, answer=answer, scorer=scorer, targets=by_effort
    )


def _arithmetic(settings: ArithmeticSettings, rng: random.Random) -> Example:
    count = rng.randint(*settings.operands)
    digits = [rng.randint(0, 9) for _ in range(count)]
    sums = [sum(digits[: i + 1]) for i in range(count)]
    rows = list(zip(LABELS, digits, sums, strict=False))
    prompt = "sum " + " ".join(f"{label} {digit}" for label, digit, _ in rows) + " ?"
    final = str(sums[-1])
    return _example(
        "arithmetic",
        prompt,
        final,
        "number",
        [
            Target(analysis="", final=final),
            Target(analysis=" ".join(f"{label} {total}" for label, _, total in rows), final=final),
            Target(analysis=" ".join(f"{la} {di} {to}" for la, di, to in rows), final=final),
        ],
    )


def _recall(settings: RecallSettings, rng: random.Random) -> Example:
    count = rng.randint(*settings.pairs)
    pairs = [f"{noun} {rng.randint(0, 99)}" for noun in rng.sample(NOUNS, count)]
    # The value of pair i is followed by 2 (count - 1 - i) tokens of the list, "?" and the word.
    last = min(count - 1, count - 1 - (settings.beyond - 2 + 1) // 2)
    if last < 0:
        raise ValueError(f"recall: no pair of {count} lies {settings.beyond} tokens back")
    asked = rng.randint(0, last)
    final = pairs[asked]
    prompt = f"recall {' '.join(pairs)} ? {final.split()[0]}"
    return _example(
        "recall",
        prompt,
        final.split()[1],
        "number",
        [
            Target(analysis="", final=final),
            Target(analysis=final, final=final),
            Target(analysis=" ".join(pairs[asked : asked + 5]), final=final),
        ],
    )


def _format(settings: FormatSettings, rng: random.Random) -> Example:
    words = rng.sample(NOUNS, rng.randint(*settings.words))
    style = rng.choice(STYLES)
    turned = rng.random() < 0.5
    ordered: list[str] = list(words[::-1] if turned else words)
    prompt = f"say {'reverse ' if turned else ''}{style} {' '.join(words)} ?"
    final = styled(style, ordered)
    return _example(
        "format",
        prompt,
        final,
        "exact",
        [
            Target(analysis="", final=final),
            Target(analysis=" ".join(ordered), final=final),
            Target(analysis=f"{' '.join(words)} ; {' '.join(ordered)} ; {final}", final=final),
        ],
    )


def styled(style: str, words: list[str]) -> str:
    """Words in a style of STYLES."""
    match style:
        case "plain":
            return " ".join(words)
        case "comma":
            return " , ".join(words)
        case "dash":
            return " - ".join(words)
        case "count":
            return " ".join(f"{i} {word}" for i, word in enumerate(words, 1))
        case "twice":
            return " ".join(f"{word} {word}" for word in words)
    raise ValueError(f"unknown style {style}; known: {', '.join(STYLES)}")
