"""Whether a server serves the very checkpoint that a stage names, found out before it is asked for
anything that counts.

A server says at which log probabilities it drew its tokens. Those are a fingerprint of its weights:
here they are worked out again from the checkpoint's files, layer by layer, so that a model of any
size needs no more memory than `methods/score` does. Two computations of one model differ by
rounding. How much is found out beside it: the same tokens go by a second time with everything
between layers rounded to bfloat16, and a server may be `ROUNDINGS` times as far away as that.

What it cannot tell apart are checkpoints that are nearer to each other than rounding. A server that
names the digest of what it loaded (`fretsaw serve` does) is held to that as well.

Shape suffixes: B rows, T tokens of a row, D hidden, N written tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.data.packed import PADDING
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.generate.decode import Sampling, seed_of
from fretsaw_engine.methods.score.budget import Budget
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.methods.score.mixture import advance
from fretsaw_engine.methods.score.units import Unit
from fretsaw_engine.training import distributed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.generate.decode import Answer
    from fretsaw_engine.methods.generate.rollout import ServerRollout

PROBES = 8
"""Prompts that are asked: the shortest, for they tell as much as long ones."""

PROBE_TOKENS = 32
"""Longest answer to one."""

ROUNDINGS = 10.0
"""A server in bfloat16 rounds inside its layers too: measured, transformers in bfloat16 is 6 times
as far away as rounding between layers alone, a checkpoint with one expert less 17 to 25 times."""

LEAST = 1e-4
"""Nats: float32 on both sides differs by about 1e-6 a token, whatever states do in bfloat16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What was found: mean absolute differences of log probabilities, in nats a token."""

    answers: int
    tokens: int
    gap: float
    """Between the server and the checkpoint."""
    rounding: float
    """Between the checkpoint and itself with states in bfloat16."""
    limit: float
    """Above it the server serves something else."""


def prove_served(
    job: Job, rollout: ServerRollout, prompts: Sequence[Sequence[int]], tolerance: float | None
) -> Served:
    """DIGEST_MISMATCH unless the server behind `rollout` serves the job's input `model`.

    `tolerance` is the limit in nats where rounding is not to give it.
    """
    model = job.input("model")
    _refuse_another_name(rollout.declared_digest, model.digest)
    asked = _shortest(prompts)
    seeds = [seed_of("probe", at) for at in range(len(asked))]
    answers = rollout.answers(asked, seeds, Sampling(max_new_tokens=PROBE_TOKENS))
    budget = Budget.of_job(job)
    with Parent(
        folder=model.path, budget_bytes=budget.weights, device=distributed.device()
    ) as parent:
        exact_N, rounded_N = log_probs(parent, asked, answers)
    theirs_N = torch.tensor([value for answer in answers for value in answer.log_probs])
    found = _compare(theirs_N, exact_N.cpu(), rounded_N.cpu(), len(answers), tolerance)
    job.metrics(0, {f"served_{name}": float(value) for name, value in asdict(found).items()})
    if not found.gap <= found.limit:  # NaN is no proof
        raise StageFailure(
            "DIGEST_MISMATCH",
            f"the server does not answer as {model.digest} does: over {found.tokens} tokens its "
            f"log probabilities are {found.gap:.3g} nats away on average, more than "
            f"{found.limit:.3g} (states rounded to bfloat16: {found.rounding:.3g})",
            asdict(found),
        )
    return found


def log_probs(
    parent: Parent, prompts: Sequence[Sequence[int]], answers: Sequence[Answer]
) -> tuple[torch.Tensor, torch.Tensor]:
    """[N] float32 log probabilities of all answers' tokens, one after the other: exact, and with
    states between layers in bfloat16."""
    texts = [[*prompt, *answer.ids] for prompt, answer in zip(prompts, answers, strict=True)]
    unit = _unit(texts, parent.device)
    exact_BTD = parent.embed(unit)
    rounded_BTD = _rounded(exact_BTD)
    for layer in range(parent.layers):
        exact_BTD, rounded_BTD = advance(parent, layer, [(unit, exact_BTD), (unit, rounded_BTD)])
        rounded_BTD = _rounded(rounded_BTD)
    at = [
        (row, len(prompt) + place)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        for place in range(len(answer.ids))
    ]
    row_N, token_N = torch.tensor(at, device=parent.device).view(-1, 2).T
    said_N = unit.input_ids_BT[row_N, token_N]

    def read(hidden_BTD: torch.Tensor) -> torch.Tensor:
        logits_NV = parent.logits(parent.final_norm(hidden_BTD[row_N, token_N - 1]))
        return logits_NV.log_softmax(-1).gather(1, said_N[:, None])[:, 0]

    return read(exact_BTD), read(rounded_BTD)


def _refuse_another_name(declared: str | None, expected: str) -> None:
    if declared is not None and declared != expected:
        raise StageFailure(
            "DIGEST_MISMATCH", f"expected a server of {expected}, it says that it serves {declared}"
        )


def _shortest(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    distinct = {tuple(prompt): None for prompt in sorted(prompts, key=len)}
    return [list(prompt) for prompt in list(distinct)[:PROBES]]


def _compare(
    theirs_N: torch.Tensor,
    exact_N: torch.Tensor,
    rounded_N: torch.Tensor,
    answers: int,
    tolerance: float | None,
) -> Served:
    rounding = float((rounded_N - exact_N).abs().mean())
    return Served(
        answers=answers,
        tokens=len(theirs_N),
        gap=float((theirs_N - exact_N).abs().mean()),
        rounding=rounding,
        limit=max(ROUNDINGS * rounding, LEAST) if tolerance is None else tolerance,
    )


def _rounded(hidden_BTD: torch.Tensor) -> torch.Tensor:
    return hidden_BTD.bfloat16().float()


def _unit(texts: Sequence[Sequence[int]], device: torch.device) -> Unit:
    """Texts as rows, padded on the right."""
    longest = max(len(text) for text in texts)
    ids_BT = torch.zeros(len(texts), longest, dtype=torch.int64)
    owner_BT = torch.full((len(texts), longest), PADDING, dtype=torch.int32)
    for row, text in enumerate(texts):
        ids_BT[row, : len(text)] = torch.tensor(text)
        owner_BT[row, : len(text)] = 0
    position_BT = torch.arange(longest).expand_as(ids_BT)
    tensors: dict[str, Any] = {
        "input_ids_BT": ids_BT,
        "position_ids_BT": position_BT,
        "document_ids_BT": owner_BT,
        "loss_mask_BT": (owner_BT != PADDING).int(),
    }
    placed = {name: tensor.to(device) for name, tensor in tensors.items()}
    return Unit(index=0, first_row=0, **placed)
