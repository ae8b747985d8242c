"""Stage `score-experts`: what every expert contributes, best first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from fretsaw_engine.data.packed import PADDING, read_dataset
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.score.budget import Budget
from fretsaw_engine.methods.score.experts import (
    Tally,
    keep_embedded,
    rank,
    rounded,
    tally_shard,
)
from fretsaw_engine.methods.score.kept import Kept
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.methods.score.parent import calibration_rows, check_tokenizer
from fretsaw_engine.methods.score.progress import Phase, Progress
from fretsaw_engine.methods.score.units import shards_of
from fretsaw_engine.training import distributed
from fretsaw_engine.training.settings import read_settings, require

if TYPE_CHECKING:
    from typing import Any

    from fretsaw_engine.data.packed import Packed
    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.score.units import Shard


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreExpertsSettings:
    """`tokens`: at least as many are read, in whole rows drawn by `seed`; None reads all.
    `min_tokens_per_expert`: fewer than so many are no measurement, and an error."""

    metric: Literal["reap", "drop-out-error"] = "reap"
    tokens: int | None = None
    min_tokens_per_expert: int = 32
    seed: int = 1

    def __post_init__(self) -> None:
        require(self.tokens is None or self.tokens > 0, "tokens must be positive")
        require(self.min_tokens_per_expert >= 0, "min_tokens_per_expert must not be negative")


def run(job: Job) -> None:
    settings = read_settings(ScoreExpertsSettings, job.settings)
    torch.set_num_threads(job.threads)
    distributed.start()
    dataset, model = read_dataset(job.input("data").path), job.input("model").path
    check_tokenizer(dataset, model)
    budget = Budget.of_job(job)
    with (
        torch.no_grad(),
        Parent(folder=model, budget_bytes=budget.weights, device=distributed.device()) as parent,
    ):
        vocabulary = parent.config.vocab_size
        packed = calibration_rows(dataset.packed, vocabulary, settings.tokens, settings.seed)
        tallies = tally_experts(job, parent, packed, budget)
    check_counts(tallies, settings.min_tokens_per_expert)
    if distributed.rank() == 0:
        document = ranking(settings.metric, tallies, int((packed.document_ids != PADDING).sum()))
        text = json.dumps(document, indent=1) + "\n"
        (job.outputs["ranking"] / "ranking.json").write_text(text, encoding="utf-8")


def tally_experts(job: Job, parent: Parent, packed: Packed, budget: Budget) -> list[Tally]:
    """One pass: a tally for every layer."""
    kept = Kept.of_job(job, budget.kept)
    shards = shards_of(packed, parent.device)

    def begin(shard: Shard) -> None:
        keep_embedded(parent, shard, kept)

    def work(shard: Shard, layer: int) -> dict[str, torch.Tensor]:
        tally = tally_shard(parent, shard, layer, kept, budget.working)
        counts = torch.cat([tally.routed_E, torch.tensor([tally.tokens])])
        return {"reap": tally.reap_E, "dropped": tally.dropped_E, "counts": counts}

    phase = Phase(
        name="experts",
        shards=shards,
        layers=parent.layers,
        kept=kept,
        keeps_hidden=True,
        begin=begin,
        work=work,
    )
    found = Progress(job, parent.layers * len(shards)).run(phase)
    tallies = [Tally.empty(count) for count in parent.expert_counts]
    for figures in found:
        for layer in range(parent.layers):
            counts = figures[f"{layer}.counts"]
            tallies[layer] += Tally(
                reap_E=figures[f"{layer}.reap"],
                dropped_E=figures[f"{layer}.dropped"],
                routed_E=counts[:-1],
                tokens=int(counts[-1]),
            )
    return tallies


def check_counts(tallies: list[Tally], least: int) -> None:
    """BAD_INPUT that names the experts to which fewer than `least` tokens were routed."""
    few = [
        (layer, expert, count)
        for layer, tally in enumerate(tallies)
        for expert, count in enumerate(tally.routed_E.tolist())
        if count < least
    ]
    if not few:
        return
    shown = "; ".join(f"layer {layer} expert {e}: {count} tokens" for layer, e, count in few[:10])
    more = f"; and {len(few) - 10} more" if len(few) > 10 else ""
    raise StageFailure(
        "BAD_INPUT",
        f"{len(few)} experts saw fewer than {least} of the {tallies[0].tokens} calibration tokens "
        f"({shown}{more}): give more data, or lower min_tokens_per_expert",
        {"experts": [list(entry) for entry in few[:100]]},
    )


def ranking(metric: str, tallies: list[Tally], tokens: int) -> dict[str, Any]:
    """`fretsaw/ranking/v1`. `unrouted` names the experts that no token reached: score 0."""
    layers = []
    unrouted = []
    for layer, tally in enumerate(tallies):
        scores = [rounded(score) for score in tally.scores(metric)]
        routed = tally.routed_E.tolist()
        layers.append(
            {
                "layer": layer,
                "experts": [
                    {"expert": expert, "score": scores[expert], "tokens": routed[expert]}
                    for expert in rank(scores)
                ],
            }
        )
        unrouted += [{"layer": layer, "expert": e} for e, count in enumerate(routed) if not count]
    return {
        "schema": "fretsaw/ranking/v1",
        "metric": metric,
        "tokens": tokens,
        "layers": layers,
        "unrouted": unrouted,
    }
