"""Greedy answers of a model to seeded questions, and their scores by task and effort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.harmony import tokens
from fretsaw_engine.harmony.render import Renderer, parse
from fretsaw_engine.rehearsal import tasks
from fretsaw_engine.rehearsal.scorers import score

if TYPE_CHECKING:
    from collections.abc import Sequence


def greedy(
    model: Any, prompts: Sequence[Sequence[int]], *, most_new: int, stop: Sequence[int], pad_id: int
) -> list[list[int]]:
    """The most likely next token until one of `stop` (kept) or `most_new` tokens, per prompt."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    with torch.no_grad():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=most_new,
            do_sample=False,
            eos_token_id=list(stop),
            pad_token_id=pad_id,
        )
    answers: list[list[int]] = []
    for row in out[:, longest:].tolist():
        end = next((at + 1 for at, token in enumerate(row) if token in stop), len(row))
        answers.append(row[:end])
    return answers


def evaluate(
    model: Any,
    renderer: Renderer,
    task_settings: dict[str, tasks.TaskSettings],
    *,
    examples: int,
    seed: int,
    efforts: Sequence[str] = tokens.EFFORTS,
    most_new: int = 64,
    batch: int = 256,
) -> dict[str, dict[str, float]]:
    """`<task>/<effort>` -> accuracy, mean tokens, share of answers that ended, all on held-out
    examples.

    A token counts if the model wrote it, channel names and the closing `<|return|>` included.
    """
    words = tokens.vocabulary()
    names = {index: word for word, index in words.items()}
    stop = [words[tokens.RETURN], words[tokens.CALL]]
    cells: dict[str, dict[str, float]] = {}
    for effort in efforts:
        asked = [
            next_example
            for task, settings in task_settings.items()
            for next_example in _first(task, settings, examples, seed)
        ]
        prompts = [renderer.prompt(example.messages, effort) for example in asked]
        order = sorted(range(len(asked)), key=lambda i: len(prompts[i]))
        answers: dict[int, list[int]] = {}
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            written = greedy(
                model, [prompts[i] for i in part], most_new=most_new, stop=stop, pad_id=0
            )
            answers.update(zip(part, written, strict=True))
        for task in task_settings:
            mine = [i for i, example in enumerate(asked) if example.task == task]
            texts = {i: " ".join(names[token] for token in answers[i]) for i in mine}
            parsed = {i: parse(texts[i]) for i in mine}
            scores = [score(asked[i].scorer, asked[i].answer, parsed[i].final) for i in mine]
            cells[f"{task}/{effort}"] = {
                "accuracy": sum(scores) / len(mine),
                "tokens": sum(len(answers[i]) for i in mine) / len(mine),
                "ended": sum(parsed[i].ended for i in mine) / len(mine),
            }
    return cells


def summary(cells: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means over tasks of every effort: `accuracy/<effort>` and `tokens/<effort>`."""
    found: dict[str, float] = {}
    for effort in tokens.EFFORTS:
        mine = [cell for name, cell in cells.items() if name.endswith(f"/{effort}")]
        if mine:
            found[f"accuracy/{effort}"] = sum(cell["accuracy"] for cell in mine) / len(mine)
            found[f"tokens/{effort}"] = sum(cell["tokens"] for cell in mine) / len(mine)
    return found


def _first(
    task: str, settings: tasks.TaskSettings, examples: int, seed: int
) -> list[tasks.Example]:
    stream = tasks.stream(task, settings, "heldout", seed)
    return [next(stream) for _ in range(examples)]
