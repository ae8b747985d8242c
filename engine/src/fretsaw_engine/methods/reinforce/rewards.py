"""Verifiable rewards: small pure functions of what a model wrote and what was asked.

A reward is a sum of parts: correctness (DeepSeek-R1, arXiv 2501.12948, section 2.2.2: rule-based
accuracy and format rewards), format, and for the mixed-effort variant a length term, which makes
the requested effort mean something.

A model that is paid for answers looks for cheaper ways to the same pay. So an answer counts only
if it is in the final channel, the final channel comes once, and nothing follows its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fretsaw_engine.harmony import tokens
from fretsaw_engine.rehearsal.scorers import score

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANNELS = ("analysis", "final")
"""Channels that an answer without tools may open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A completion taken apart. `final` is None unless there is exactly one final channel, not
    empty.
    """

    final: str | None
    well_formed: bool
    """One final channel, last, closed by `<|return|>`; before it at most one analysis, closed by
    `<|end|>`."""


def read(text: str) -> Written:
    """Take a decoded completion (special tokens kept, after `<|start|>assistant`) apart,
    strictly.
    """
    body, returned, rest = text.partition(tokens.RETURN)
    turns = body.split(tokens.START)
    parsed = [_turn(turn, first=at == 0) for at, turn in enumerate(turns)]
    finals = [content for channel, content, _ in parsed if channel == "final"]
    final = finals[0] if len(finals) == 1 and finals[0] else None
    channels = [channel for channel, _, _ in parsed]
    closed = all(ended for _, _, ended in parsed[:-1]) and not parsed[-1][2]
    in_order = channels in (["final"], ["analysis", "final"])
    complete = bool(returned) and not rest.replace(tokens.PAD, "").strip()
    return Written(final=final, well_formed=final is not None and closed and in_order and complete)


def correctness(scorer: str, answer: str, written: Written) -> float:
    """1 for the right answer in the one final channel, else 0."""
    return score(scorer, answer, written.final)


def format_reward(written: Written) -> float:
    """1 for a well-formed completion, else 0."""
    return float(written.well_formed)


def length_reward(effort: str, length: int, cap: int, weights: Mapping[str, float]) -> float:
    """`- weight[effort] * length / cap`, from -weight to 0; an effort that has no weight is free.

    Linear in the tokens written and blind to correctness, so that it can never turn a longer
    right answer at a free effort into a worse one. Kimi k1.5 (arXiv 2501.12599, section 2.3.3)
    makes it relative to the group; the group's mean is subtracted by GRPO anyway.
    """
    if not 0 <= length <= cap:
        raise ValueError(f"bug: {length} tokens under a cap of {cap}")
    return -weights.get(effort, 0.0) * length / cap


def _turn(turn: str, *, first: bool) -> tuple[str | None, str, bool]:
    """(channel, content, closed by `<|end|>`) of one message; channel None where the header is
    not one of ours.
    """
    header, separator, content = turn.partition(tokens.MESSAGE)
    role, channel_mark, channel = header.partition(tokens.CHANNEL)
    if not separator or not channel_mark or channel.strip() not in CHANNELS:
        return None, "", False
    if role.strip() != ("" if first else "assistant"):
        return None, "", False
    content, ended, rest = content.partition(tokens.END)
    special = (tokens.MESSAGE, tokens.CHANNEL, tokens.CALL, tokens.CONSTRAIN, tokens.END)
    if rest.strip() or any(token in content for token in special):
        return None, "", False
    return channel.strip(), content.strip(), bool(ended)
