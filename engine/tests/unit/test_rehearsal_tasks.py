"""The seeded tasks: right answers, disjoint splits, lengths that grow with effort."""

from __future__ import annotations

import itertools
from statistics import mean

import pytest

from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.harmony.tokens import EFFORTS, vocabulary
from fretsaw_engine.rehearsal import tasks
from fretsaw_engine.rehearsal.scorers import score


def _some(task: str, split: str = "train", seed: int = 1, count: int = 300, **settings: object):
    stream = tasks.stream(task, tasks.read_settings(task, dict(settings)), split, seed)
    return list(itertools.islice(stream, count))


@pytest.mark.parametrize("task", tasks.TASKS)
def test_references_score_one_and_use_known_words(task: str) -> None:
    words = vocabulary()
    for example in _some(task):
        for target in example.targets.values():
            assert score(example.scorer, example.answer, target.final) == 1.0
            text = f"{example.prompt} {target.analysis} {target.final}"
            assert all(word in words for word in text.split())


def test_arithmetic_is_right_and_written_out() -> None:
    for example in _some("arithmetic", operands=[3, 8]):
        parts = example.prompt.split()[1:-1]
        assert int(example.answer) == sum(int(digit) for digit in parts[1::2])
        steps = example.targets["high"].analysis.split()
        assert steps[0::3] == parts[0::2]
        assert steps[1::3] == parts[1::2]
        assert steps[2::3] == example.targets["medium"].analysis.split()[1::2]


def test_recall_asks_far_enough_back() -> None:
    for example in _some("recall", pairs=[20, 24], beyond=34):
        listed = example.prompt.split()
        key = listed[-1]
        at = listed.index(key)
        assert listed[at + 1] == example.answer
        assert len(listed) - 1 - (at + 1) >= 34
    with pytest.raises(ValueError, match="tokens back"):
        _some("recall", pairs=[4, 4], beyond=34)


def test_format_does_what_it_says() -> None:
    seen = set()
    for example in _some("format"):
        order, *rest = example.prompt.split()[1:-1]
        turned = order == "reverse"
        style, words = (rest[0], rest[1:]) if turned else (order, rest)
        seen.add((turned, style))
        assert example.answer == tasks.styled(style, words[::-1] if turned else words)
    assert len(seen) == 2 * len(tasks.STYLES)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_splits_share_no_content_whatever_the_seed(task: str) -> None:
    contents = [
        {example.prompt for seed in (1, 2) for example in _some(task, split, seed)}
        for split in tasks.SPLITS
    ]
    for left, right in itertools.combinations(contents, 2):
        assert not left & right


def test_a_stream_depends_on_its_arguments_alone() -> None:
    assert _some("format", seed=5) == _some("format", seed=5)
    assert _some("format", seed=5) != _some("format", seed=6)
    assert len({example.id for example in _some("format")}) == 300


def test_a_task_that_runs_dry_says_so() -> None:
    with pytest.raises(ValueError, match="no more different"):
        _some("arithmetic", operands=[1, 1])


def test_high_effort_costs_three_times_the_tokens_of_low() -> None:
    renderer = rehearsal_renderer()
    means = {}
    for effort in EFFORTS:
        means[effort] = mean(
            len(
                renderer.completion(
                    {"content": t.final, "thinking": t.analysis, "role": "assistant"}
                )
            )
            for task in tasks.TASKS
            for t in (example.targets[effort] for example in _some(task))
        )
    assert means["low"] < means["medium"] < means["high"]
    assert means["high"] > 3.5 * means["low"]


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match="unknown task"):
        tasks.read_settings("chess", {})
    with pytest.raises(ValueError, match="unknown settings"):
        tasks.read_settings("recall", {"pear": 3})
    with pytest.raises(ValueError, match="unknown split"):
        _some("recall", "test")
    with pytest.raises(ValueError, match="unknown scorer"):
        score("vibes", "1", "1")


@pytest.mark.parametrize(
    ("scorer", "answer", "final", "expected"),
    [
        ("number", "29", "29", 1.0),
        ("number", "29", "fig 29", 1.0),
        ("number", "29", "29 fig", 0.0),
        ("number", "29", "", 0.0),
        ("number", "29", None, 0.0),
        ("exact", "a , b", " a ,  b ", 1.0),
        ("exact", "a , b", "a b", 0.0),
        ("exact", "a , b", None, 0.0),
    ],
)
def test_scores(scorer: str, answer: str, final: str | None, expected: float) -> None:
    assert score(scorer, answer, final) == expected
