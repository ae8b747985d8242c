"""Stage `score-experts`: what every expert contributes, best first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from fretsaw_engine.data.packed import PADDING, read_dataset
from fretsaw_engine.methods.score.experts import rank, rounded, tally_experts
from fretsaw_engine.methods.score.parent import calibration_rows
from fretsaw_engine.moe.checkpoint import load_model
from fretsaw_engine.training.settings import read_settings, require

if TYPE_CHECKING:
    from typing import Any

    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.score.experts import Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreExpertsSettings:
    """`tokens`: at least as many are read, in whole rows drawn by `seed`; None reads all."""

    metric: Literal["reap", "drop-out-error"] = "reap"
    tokens: int | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        require(self.tokens is None or self.tokens > 0, "tokens must be positive")


def run(job: Job) -> None:
    settings = read_settings(ScoreExpertsSettings, job.settings)
    torch.set_num_threads(job.threads)
    model = load_model(job.input("model").path)
    packed = calibration_rows(
        read_dataset(job.input("data").path).packed,
        model.config.vocab_size,
        settings.tokens,
        settings.seed,
    )

    def tick(rows: int) -> None:
        job.progress(rows, len(packed), "rows")
        job.stop_if_asked()

    tallies = tally_experts(model, packed, tick)
    document = ranking(settings.metric, tallies, int((packed.document_ids != PADDING).sum()))
    text = json.dumps(document, indent=1) + "\n"
    (job.outputs["ranking"] / "ranking.json").write_text(text, encoding="utf-8")


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
