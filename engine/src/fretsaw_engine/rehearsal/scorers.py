"""Verifiable scores of an answer: 1.0 right, 0.0 wrong or absent. The evaluation scores by the same
rules.
"""

from __future__ import annotations


def score(scorer: str, answer: str, final: str | None) -> float:
    """Score what stood in the final channel (None: there was none).

    `exact`: equal but for white space. `number`: the last word is the number asked for.
    """
    if scorer not in ("exact", "number"):
        raise ValueError(f"unknown scorer {scorer}; known: exact, number")
    if final is None:
        return 0.0
    words = final.split()
    if scorer == "exact":
        return float(words == answer.split())
    return float(bool(words) and words[-1].isdecimal() and int(words[-1]) == int(answer))
