"""Conversations to token ids and back.

`Renderer.document` gives the ids of a whole conversation with a mask over what the assistant wrote,
which is what training needs; it must give the same ids as the chat template, and a test holds it to
that. `parse` takes a completion apart again: what stood in the analysis channel, what in the final
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fretsaw_engine.harmony import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """Token ids and, for each, whether the assistant wrote it (and is trained on it)."""

    ids: list[int]
    mask: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a model wrote after `<|start|>assistant`. `final` is None if the channel never came."""

    analysis: str | None
    final: str | None
    ended: bool


class Renderer:
    """Harmony for one tokenizer. `encode` turns plain text, without special tokens, into ids."""

    def __init__(self, vocabulary: Mapping[str, int], encode: Callable[[str], list[int]]) -> None:
        self._encode = encode
        self._special = {token: vocabulary[token] for token in tokens.SPECIAL[:-1]}
        self._header_cache: dict[str, list[int]] = {}

    def prompt(self, messages: Sequence[Message], effort: str) -> list[int]:
        """Ids up to and with `<|start|>assistant`: what a model is asked to go on from."""
        ids = self._header("system") + self._encode(f"Reasoning: {effort}") + self._ids(tokens.END)
        for message in messages:
            ids += self._turn(message, last=False)[0]
        return ids + self._header("assistant")[:-1]

    def document(self, messages: Sequence[Message], effort: str) -> Document:
        """A conversation that ends with the assistant's answer."""
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError("a document ends with an assistant message")
        ids = self._header("system") + self._encode(f"Reasoning: {effort}") + self._ids(tokens.END)
        mask = [0] * len(ids)
        for at, message in enumerate(messages, 1):
            more_ids, more_mask = self._turn(message, last=at == len(messages))
            ids += more_ids
            mask += more_mask
        return Document(ids=ids, mask=mask)

    def completion(self, message: Message) -> list[int]:
        """Ids that give `message` (an assistant's) when a model writes them after its prompt."""
        ids, _ = self._turn(message, last=True)
        return ids[len(self._header("assistant")) - 1 :]

    def _turn(self, message: Message, *, last: bool) -> tuple[list[int], list[int]]:
        role, content = message["role"], message["content"]
        if role == "user":
            ids = self._header("user") + self._encode(content) + self._ids(tokens.END)
            return ids, [0] * len(ids)
        if role != "assistant":
            raise ValueError(f"unexpected message role: {role}")
        opening = self._header("assistant")[:-1]
        ids: list[int] = []
        thinking = message.get("thinking")
        if last and thinking:
            ids += opening + self._channel("analysis") + self._encode(thinking)
            ids += self._ids(tokens.END)
        ids += opening + self._channel("final") + self._encode(content)
        ids += self._ids(tokens.RETURN if last else tokens.END)
        mask = [0] * len(opening) + [1] * (len(ids) - len(opening))
        if not last:  # which channel an earlier turn took says nothing: its analysis was dropped
            skipped = len(opening) + len(self._channel("final"))
            mask[:skipped] = [0] * skipped
        return ids, mask

    def _header(self, role: str) -> list[int]:
        if role not in self._header_cache:
            start, message = self._special[tokens.START], self._special[tokens.MESSAGE]
            self._header_cache[role] = [start, *self._encode(role), message]
        return list(self._header_cache[role])

    def _channel(self, name: str) -> list[int]:
        return self._ids(tokens.CHANNEL) + self._encode(name) + self._ids(tokens.MESSAGE)

    def _ids(self, token: str) -> list[int]:
        return [self._special[token]]


def rehearsal_renderer() -> Renderer:
    """A renderer for the rehearsal's tokenizer that needs no tokenizer library (and is fast)."""
    words = tokens.vocabulary()
    return Renderer(words, lambda text: [words[word] for word in text.split()])


def tokenizer_renderer(tokenizer: Any) -> Renderer:
    """A renderer for any Hugging Face tokenizer that has the Harmony tokens."""
    words = tokenizer.get_vocab()
    if absent := [token for token in tokens.SPECIAL[:-1] if token not in words]:
        raise ValueError(f"the tokenizer has no Harmony tokens {absent}")
    return Renderer(words, lambda text: tokenizer.encode(text, add_special_tokens=False))


def parse(text: str) -> Completion:
    """Take a decoded completion (special tokens kept) apart.

    It begins after `<|start|>assistant`. The last final channel counts, as a Harmony client shows
    it.
    """
    ended = tokens.RETURN in text
    text = text.split(tokens.RETURN, 1)[0].split(tokens.PAD, 1)[0]
    found: dict[str, str] = {}
    for message in text.split(tokens.START):
        header, separator, content = message.partition(tokens.MESSAGE)
        if not separator:
            continue
        _, separator, channel = header.partition(tokens.CHANNEL)
        if separator:
            found[channel.strip()] = content.split(tokens.END, 1)[0].strip()
    return Completion(analysis=found.get("analysis"), final=found.get("final"), ended=ended)
