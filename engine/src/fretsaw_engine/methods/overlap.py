"""Which examples share text with data that they must not share it with.

Two texts overlap when they have a run of `size` words in common, or are equal when either is
shorter than that (the rule of GPT-3's appendix C, arXiv 2005.14165, with 13 words by default).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def runs(text: str, size: int) -> Iterator[tuple[str, ...]]:
    """Every run of `size` words; a shorter text is one run of its own."""
    words = tuple(text.lower().split())
    if len(words) <= size:
        if words:
            yield words
        return
    for start in range(len(words) - size + 1):
        yield words[start : start + size]


class OverlapIndex:
    """The runs of all texts that must be kept out, and where each comes from."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"runs of {size} words")
        self.size = size
        self._from: dict[tuple[str, ...], str] = {}

    def add(self, texts: Iterable[str], origin: str) -> None:
        for text in texts:
            for run in runs(text, self.size):
                self._from.setdefault(run, origin)

    def find(self, texts: Iterable[str]) -> tuple[str, str] | None:
        """The first run that is kept out, as (text of the run, origin), or None."""
        for text in texts:
            for run in runs(text, self.size):
                if run in self._from:
                    return " ".join(run), self._from[run]
        return None
