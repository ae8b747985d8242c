"""Stage `score-blocks`: what every choice for one layer costs, and what windows cost far back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from fretsaw_engine.data.packed import PADDING, read_dataset
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.score.blocks import (
    LayerChoices,
    Replacing,
    choice_name,
    keep_inputs,
    layer_choices,
    measure_of,
    score_layer,
    scores_of,
)
from fretsaw_engine.methods.score.budget import Budget
from fretsaw_engine.methods.score.experts import keep_embedded, rounded
from fretsaw_engine.methods.score.kept import Kept
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.methods.score.long_context import Answers, paired_loss, rows_with
from fretsaw_engine.methods.score.parent import calibration_rows, check_tokenizer
from fretsaw_engine.methods.score.progress import Phase, Progress
from fretsaw_engine.methods.score.ranking import read_ranking
from fretsaw_engine.methods.score.units import shards_of
from fretsaw_engine.training import distributed
from fretsaw_engine.training.settings import read_settings, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fretsaw_engine.data.packed import Packed
    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.score.blocks import Choice, Measure, Score
    from fretsaw_engine.methods.score.long_context import Loss
    from fretsaw_engine.methods.score.units import Shard


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One pass over some rows: what is tried on each layer, and how it is measured."""

    name: str
    packed: Packed
    choices: list[LayerChoices]
    measure: Measure


def run(job: Job) -> None:
    settings = read_settings(ScoreBlocksSettings, job.settings)
    torch.set_num_threads(job.threads)
    distributed.start()
    budget = Budget.of_job(job)
    folder = job.input("model").path
    with (
        torch.no_grad(),
        Parent(folder=folder, budget_bytes=budget.weights, device=distributed.device()) as parent,
    ):
        _check_counts(settings.expert_counts, parent)
        orders = read_ranking(job.input("experts").path, parent.expert_counts)
        choices = layer_choices(parent, orders, settings.expert_counts, settings.windows)
        passes = [_calibration(job, settings, parent, choices)]
        passes += _long_context(job, settings, parent, choices)
        total = sum(len(shards_of(one.packed)) for one in passes) * parent.layers
        progress = Progress(job, total)
        found = {one.name: run_pass(job, parent, one, progress, budget) for one in passes}
        document = _document(settings, parent, passes, found)
    if distributed.rank() == 0:
        text = json.dumps(document, indent=1) + "\n"
        (job.outputs["scores"] / "scores.json").write_text(text, encoding="utf-8")


def run_pass(
    job: Job, parent: Parent, one: Pass, progress: Progress, budget: Budget
) -> list[dict[str, torch.Tensor]]:
    """Figures of every layer over all rows, in the order of rows."""
    kept = Kept.of_job(job, budget.kept)
    shards = shards_of(one.packed, parent.device)

    def begin(shard: Shard) -> None:
        if not one.measure.is_local:
            keep_inputs(parent, shard, kept, budget.working)
            return
        keep_embedded(parent, shard, kept)

    def work(shard: Shard, layer: int) -> dict[str, torch.Tensor]:
        replacing = Replacing(layer=layer, choices=one.choices[layer], measure=one.measure)
        return score_layer(parent, shard, replacing, kept, budget.working)

    phase = Phase(
        name=one.name,
        shards=shards,
        layers=parent.layers,
        kept=kept,
        keeps_hidden=one.measure.is_local,
        begin=begin,
        work=work,
    )
    found = progress.run(phase)
    names = [["scale", *(choice_name(c) for c in wanted.all)] for wanted in one.choices]
    return [
        {name: torch.cat([figures[f"{layer}.{name}"] for figures in found]) for name in wanted}
        for layer, wanted in enumerate(names)
    ]


def _calibration(
    job: Job, settings: ScoreBlocksSettings, parent: Parent, choices: list[LayerChoices]
) -> Pass:
    dataset = read_dataset(job.input("data").path)
    check_tokenizer(dataset, job.input("model").path)
    vocabulary = parent.config.vocab_size
    packed = calibration_rows(dataset.packed, vocabulary, settings.tokens, settings.seed)
    measure = measure_of(settings.metric, parent)
    return Pass(name="blocks", packed=packed, choices=choices, measure=measure)


def _check_counts(expert_counts: list[int], parent: Parent) -> None:
    least, most = parent.top_k, parent.config.num_local_experts
    for count in expert_counts:
        if not least <= count <= most:
            raise StageFailure(
                "BAD_INPUT",
                f"expert_counts: {count} is not within {least} (experts a token) and {most} (all)",
            )


def _long_context(
    job: Job, settings: ScoreBlocksSettings, parent: Parent, choices: list[LayerChoices]
) -> list[Pass]:
    """Windows of the full-attention layers, where there is data for it."""
    source = job.optional_input("long_context")
    if source is None:
        return []
    dataset = read_dataset(source.path)
    check_tokenizer(dataset, job.input("model").path)
    packed = calibration_rows(dataset.packed, parent.config.vocab_size, None, 0)
    packed = rows_with(packed, settings.long_context.examples)
    if not bool((packed.loss_mask == 1).any()):
        raise StageFailure("BAD_INPUT", "the long-context data has no answers")
    windows = [
        LayerChoices(order=[], expert_counts=[], windows=choice.windows if own is None else [])
        for own, choice in zip(parent.windows, choices, strict=True)
    ]
    measure = Answers(parent=parent, most_tokens=settings.long_context.max_new_tokens)
    return [Pass(name="long-context", packed=packed, choices=windows, measure=measure)]


Found = dict[str, list[dict[str, torch.Tensor]]]


def _document(
    settings: ScoreBlocksSettings, parent: Parent, passes: list[Pass], found: Found
) -> dict[str, Any]:
    """`fretsaw/block-scores/v1`."""
    blocks, *far = passes
    right = found[far[0].name] if far else []
    accuracy = float(right[0]["scale"].double().mean()) if right else None
    layers = []
    for layer, wanted in enumerate(blocks.choices):
        scores = scores_of(found[blocks.name][layer], wanted)
        losses = _losses(right[layer], far[0].choices[layer]) if far else {}
        layers.append(_layer(parent, layer, (wanted, scores), losses))
    return {
        "schema": "fretsaw/block-scores/v1",
        "metric": settings.metric,
        "tokens": int((blocks.packed.document_ids != PADDING).sum()),
        "parent_long_context_accuracy": accuracy,
        "layers": layers,
    }


def _losses(right: Mapping[str, torch.Tensor], choices: LayerChoices) -> dict[int, Loss]:
    parent = right["scale"].tolist()
    return {
        window: paired_loss(parent, right[choice_name(("window", window))].tolist())
        for window in choices.windows
    }


def _layer(
    parent: Parent,
    layer: int,
    scored: tuple[LayerChoices, Mapping[Choice, Score]],
    losses: Mapping[int, Loss],
) -> dict[str, Any]:
    choices, scores = scored
    window, experts = parent.windows[layer], parent.expert_counts[layer]

    def line(kind: str, value: int) -> dict[str, Any]:
        found = scores[kind, value]
        error = found.standard_error
        return {
            "score": rounded(found.score),
            "standard_error": None if error is None else rounded(error),
        }

    entry: dict[str, Any] = {
        "layer": layer,
        "attention": "full" if window is None else "sliding",
        "window": window,
        "experts": experts,
        "expert_choices": [
            {"experts": count, **line("experts", count)} for count in choices.expert_counts
        ]
        + [{"experts": experts, "score": 0.0}],
        "window_choices": [{"window": w, **line("window", w)} for w in choices.windows]
        + [{"window": window, "score": 0.0}],
    }
    if losses:
        entry["long_context"] = [{"window": w, **asdict(loss)} for w, loss in losses.items()]
    return entry
