"""Rendering against the chat template, and parsing what models write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fretsaw_engine.harmony import tokens
from fretsaw_engine.harmony.render import (
    Completion,
    parse,
    rehearsal_renderer,
    tokenizer_renderer,
)
from fretsaw_engine.moe.checkpoint import load_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

TURN = [
    {"role": "user", "content": "recall fig 3 kiwi 4 ? fig"},
    {"role": "assistant", "content": "fig 3", "thinking": "fig 3 kiwi 4"},
]
SHORT = [{"role": "user", "content": "sum a 1 b 2 ?"}, {"role": "assistant", "content": "3"}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokens.write_tokenizer(folder)
    return load_tokenizer(folder)


@pytest.mark.parametrize("messages", [TURN, SHORT, TURN + SHORT, SHORT + TURN])
@pytest.mark.parametrize("effort", tokens.EFFORTS)
def test_documents_equal_the_template(tokenizer: Any, messages: Any, effort: str) -> None:
    theirs = tokenizer.apply_chat_template(messages, reasoning_effort=effort)["input_ids"]
    ours = rehearsal_renderer().document(messages, effort)
    assert ours.ids == theirs
    assert tokenizer_renderer(tokenizer).document(messages, effort) == ours
    prompt = tokenizer.apply_chat_template(
        messages[:-1], reasoning_effort=effort, add_generation_prompt=True
    )["input_ids"]
    assert rehearsal_renderer().prompt(messages[:-1], effort) == prompt
    assert prompt + rehearsal_renderer().completion(messages[-1]) == theirs


def test_effort_is_medium_unless_given(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(SHORT, tokenize=False)
    assert text == (
        "<|start|>system<|message|>Reasoning: medium<|end|><|start|>user<|message|>sum a 1 b 2 ?"
        "<|end|><|start|>assistant<|channel|>final<|message|>3<|return|>"
    )


def test_only_the_assistant_is_trained_and_not_on_the_channel_of_earlier_turns() -> None:
    document = rehearsal_renderer().document(TURN + TURN, "high")
    words = {index: word for word, index in tokens.vocabulary().items()}
    text = [words[i] for i, kept in zip(document.ids, document.mask, strict=True) if kept]
    assert " ".join(text) == (
        "fig 3 <|end|> <|channel|> analysis <|message|> fig 3 kiwi 4 <|end|> <|start|> assistant "
        "<|channel|> final <|message|> fig 3 <|return|>"
    )


def test_a_completion_parses_back(tokenizer: Any) -> None:
    for message in (TURN[1], SHORT[1]):
        text = tokenizer.decode(rehearsal_renderer().completion(message))
        assert parse(text) == Completion(
            analysis=message.get("thinking"), final=message["content"], ended=True
        )


def test_unfinished_and_broken_completions() -> None:
    assert parse("<|channel|> analysis <|message|> a 1") == Completion(
        analysis="a 1", final=None, ended=False
    )
    assert parse("") == Completion(analysis=None, final=None, ended=False)
    assert parse("3 <|return|>").final is None
    early, late = (f"<|channel|>final<|message|>{i}" for i in (1, 2))
    twice = f"{early}<|end|><|start|>assistant{late}<|return|>"
    assert parse(twice).final == "2"
    assert parse("<|channel|>final<|message|>1<|return|><|start|>assistant").final == "1"


def test_the_vocabulary_has_256_words_and_special_tokens_first(tokenizer: Any) -> None:
    words = tokens.vocabulary()
    assert len(words) == 256
    assert [words[token] for token in tokens.SPECIAL] == list(range(len(tokens.SPECIAL)))
    assert tokenizer.encode("no such word", add_special_tokens=False) == [words[tokens.UNKNOWN]] * 3


def test_documents_end_with_the_assistant() -> None:
    with pytest.raises(ValueError, match="ends with an assistant"):
        rehearsal_renderer().document(TURN[:1], "low")
    with pytest.raises(ValueError, match="role"):
        rehearsal_renderer().prompt([{"role": "tool", "content": "x"}], "low")
