"""Stage `score-blocks`: what every choice for one layer costs, and what windows cost far back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from fretsaw_engine.data.packed import PADDING, read_dataset
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.score.blocks import layer_choices, score_choices
from fretsaw_engine.methods.score.experts import rounded
from fretsaw_engine.methods.score.long_context import rows_with, score_windows
from fretsaw_engine.methods.score.parent import calibration_rows
from fretsaw_engine.methods.score.ranking import read_ranking
from fretsaw_engine.moe.checkpoint import load_model
from fretsaw_engine.moe.puzzle import layer_windows
from fretsaw_engine.training.settings import read_settings, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.score.blocks import Choice, LayerChoices
    from fretsaw_engine.methods.score.long_context import Loss


@dataclass(frozen=True, kw_only=True, slots=True)
class LongContextSettings:
    """`examples`: how many are answered; `max_new_tokens`: how much of an answer is judged."""

    examples: int = 64
    max_new_tokens: int = 16

    def __post_init__(self) -> None:
        require(self.examples > 0, "long_context.examples must be positive")
        require(self.max_new_tokens > 0, "long_context.max_new_tokens must be positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreBlocksSettings:
    """`expert_counts` and `windows` come beside what the parent has, which scores 0."""

    expert_counts: list[int]
    metric: Literal["activation-mse", "hidden-mse", "kl"] = "activation-mse"
    windows: list[int] = field(default_factory=lambda: [128, 8192])
    tokens: int | None = None
    long_context: LongContextSettings = field(default_factory=LongContextSettings)
    seed: int = 1

    def __post_init__(self) -> None:
        require(self.tokens is None or self.tokens > 0, "tokens must be positive")
        require(all(window > 0 for window in self.windows), "windows must be positive")


def run(job: Job) -> None:
    settings = read_settings(ScoreBlocksSettings, job.settings)
    torch.set_num_threads(job.threads)
    model = load_model(job.input("model").path)
    _check_counts(settings.expert_counts, model)
    packed = calibration_rows(
        read_dataset(job.input("data").path).packed,
        model.config.vocab_size,
        settings.tokens,
        settings.seed,
    )
    choices = layer_choices(
        model,
        read_ranking(job.input("experts").path, experts_of(model)),
        settings.expert_counts,
        settings.windows,
    )

    def tick(rows: int) -> None:
        job.progress(rows, len(packed), "rows")
        job.stop_if_asked()

    scores = score_choices(model, packed, choices, settings.metric, tick)
    accuracy, losses = _long_context(job, settings, model, choices)
    document = {
        "schema": "fretsaw/block-scores/v1",
        "metric": settings.metric,
        "tokens": int((packed.document_ids != PADDING).sum()),
        "parent_long_context_accuracy": accuracy,
        "layers": [
            _layer(model, layer, choice, (scores, losses)) for layer, choice in enumerate(choices)
        ],
    }
    text = json.dumps(document, indent=1) + "\n"
    (job.outputs["scores"] / "scores.json").write_text(text, encoding="utf-8")


def experts_of(model: Any) -> list[int]:
    """Number of experts of every layer."""
    return [layer.mlp.router.weight.shape[0] for layer in model.model.layers]


def _check_counts(expert_counts: list[int], model: Any) -> None:
    least, most = model.config.num_experts_per_tok, model.config.num_local_experts
    for count in expert_counts:
        if not least <= count <= most:
            raise StageFailure(
                "BAD_INPUT",
                f"expert_counts: {count} is not within {least} (experts a token) and {most} (all)",
            )


def _long_context(
    job: Job, settings: ScoreBlocksSettings, model: Any, choices: list[LayerChoices]
) -> tuple[float | None, dict[tuple[int, int], Loss]]:
    source = job.optional_input("long_context")
    if source is None:
        return None, {}
    packed = calibration_rows(read_dataset(source.path).packed, model.config.vocab_size, None, 0)
    own = layer_windows(model.config)
    windows = [choice.windows if own[layer] is None else [] for layer, choice in enumerate(choices)]
    return score_windows(
        model,
        rows_with(packed, settings.long_context.examples),
        windows,
        most_tokens=settings.long_context.max_new_tokens,
        tick=lambda _: job.stop_if_asked(),
    )


def _layer(
    model: Any,
    layer: int,
    choices: LayerChoices,
    found: tuple[Mapping[tuple[int, Choice], float], Mapping[tuple[int, int], Loss]],
) -> dict[str, Any]:
    scores, losses = found
    window = layer_windows(model.config)[layer]
    experts = len(choices.order)
    entry: dict[str, Any] = {
        "layer": layer,
        "attention": "full" if window is None else "sliding",
        "window": window,
        "experts": experts,
        "expert_choices": [
            {"experts": count, "score": rounded(scores[layer, ("experts", count)])}
            for count in choices.expert_counts
        ]
        + [{"experts": experts, "score": 0.0}],
        "window_choices": [
            {"window": narrower, "score": rounded(scores[layer, ("window", narrower)])}
            for narrower in choices.windows
        ]
        + [{"window": window, "score": 0.0}],
    }
    measured = {w: losses[layer, w] for w in choices.windows if (layer, w) in losses}
    if measured:
        entry["long_context"] = [{"window": w, **asdict(loss)} for w, loss in measured.items()]
    return entry
