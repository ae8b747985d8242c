"""Rewards against answers that look for cheaper ways to be paid."""

from __future__ import annotations

import pytest

from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.harmony.tokens import vocabulary
from fretsaw_engine.methods.reinforce.rewards import correctness, format_reward, length_reward, read

FINAL = "<|channel|> final <|message|>"
ANALYSIS = "<|channel|> analysis <|message|>"
AGAIN = "<|end|> <|start|> assistant"

HONEST = f"{ANALYSIS} a 3 3 b 8 11 {AGAIN} {FINAL} 11 <|return|>"

CASES: dict[str, tuple[str, float, float]] = {
    "an honest answer": (HONEST, 1.0, 1.0),
    "an honest answer at once": (f"{FINAL} 11 <|return|>", 1.0, 1.0),
    "an honest wrong answer": (f"{FINAL} 12 <|return|>", 0.0, 1.0),
    "padding after the end": (f"{FINAL} 11 <|return|> <|endoftext|> <|endoftext|>", 1.0, 1.0),
    "the answer in the analysis channel only": (f"{ANALYSIS} 11 <|end|> <|return|>", 0.0, 0.0),
    "an analysis that never ends": (f"{ANALYSIS} 11 11 11", 0.0, 0.0),
    "two finals, one of them right": (f"{FINAL} 12 {AGAIN} {FINAL} 11 <|return|>", 0.0, 0.0),
    "two finals, both right": (f"{FINAL} 11 {AGAIN} {FINAL} 11 <|return|>", 0.0, 0.0),
    "an empty final": (f"{ANALYSIS} 11 {AGAIN} {FINAL} <|return|>", 0.0, 0.0),
    "a final that hits the cap": (f"{FINAL} 11", 1.0, 0.0),
    "a final that ends as a turn": (f"{FINAL} 11 <|end|> <|return|>", 1.0, 0.0),
    "words after the end": (f"{FINAL} 11 <|return|> 12", 1.0, 0.0),
    "the right number in the wrong place": (f"{FINAL} 11 12 <|return|>", 0.0, 1.0),
    "the right number with a unit behind it": (f"{FINAL} 11 apple <|return|>", 0.0, 1.0),
    "every number that there is": (f"{FINAL} 9 10 11 12 13 <|return|>", 0.0, 1.0),
    "a channel that does not exist": ("<|channel|> comma <|message|> 11 <|return|>", 0.0, 0.0),
    "a final before its analysis": (f"{FINAL} 11 {AGAIN} {ANALYSIS} a 3 <|return|>", 1.0, 0.0),
    "two analyses": (f"{ANALYSIS} a {AGAIN} {ANALYSIS} b {AGAIN} {FINAL} 11 <|return|>", 1.0, 0.0),
    "an analysis that is not closed": (
        f"{ANALYSIS} a 3 <|start|> assistant {FINAL} 11 <|return|>",
        1.0,
        0.0,
    ),
    "the user's turn played as well": (
        f"{FINAL} 11 <|end|> <|start|> user <|message|> thanks <|end|> <|return|>",
        1.0,
        0.0,
    ),
    "another role that answers": (
        f"{ANALYSIS} a 3 <|end|> <|start|> user {FINAL} 11 <|return|>",
        0.0,
        0.0,
    ),
    "a header inside the content": (f"{FINAL} {FINAL} 11 <|return|>", 0.0, 0.0),
    "a tool call": (f"{FINAL} 11 <|call|> <|return|>", 0.0, 0.0),
    "nothing": ("", 0.0, 0.0),
    "only the end": ("<|return|>", 0.0, 0.0),
}


@pytest.mark.parametrize("case", list(CASES))
def test_what_is_paid_for(case: str) -> None:
    text, correct, well_formed = CASES[case]
    written = read(text)
    assert correctness("number", "11", written) == correct
    assert format_reward(written) == well_formed


def test_exact_answers_must_be_the_whole_final() -> None:
    right = f"{FINAL} oak - fig <|return|>"
    assert correctness("exact", "oak - fig", read(right)) == 1.0
    for wrong in ("oak - fig - fig", "fig - oak", "oak fig", "say oak - fig"):
        assert correctness("exact", "oak - fig", read(f"{FINAL} {wrong} <|return|>")) == 0.0


def test_a_reference_answer_as_it_is_rendered_for_training_is_paid_in_full() -> None:
    names = {index: word for word, index in vocabulary().items()}
    for message in ({"content": "11"}, {"content": "11", "thinking": "a 3 3"}):
        ids = rehearsal_renderer().completion({"role": "assistant", **message})
        written = read(" ".join(names[token] for token in ids))
        assert (correctness("number", "11", written), format_reward(written)) == (1.0, 1.0)


def test_length_costs_at_low_effort_and_nothing_at_high() -> None:
    weights = {"low": 0.5, "medium": 0.2}
    assert length_reward("low", 40, 40, weights) == -0.5
    assert length_reward("low", 10, 40, weights) == -0.125
    assert length_reward("medium", 20, 40, weights) == pytest.approx(-0.1)
    assert length_reward("high", 40, 40, weights) == 0.0
    assert length_reward("low", 0, 40, weights) == 0.0


def test_a_right_answer_at_any_length_is_worth_more_than_a_wrong_short_one() -> None:
    weights = {"low": 0.5}
    right = 1.0 + 0.2 + length_reward("low", 40, 40, weights)
    wrong = 0.0 + 0.2 + length_reward("low", 0, 40, weights)
    assert right > wrong


def test_a_length_beyond_the_cap_is_a_bug_and_said_so() -> None:
    with pytest.raises(ValueError, match="cap"):
        length_reward("low", 41, 40, {})
