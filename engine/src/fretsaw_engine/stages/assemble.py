"""Stage `assemble`: the child of an architecture, cut out of the parent's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from fretsaw_engine.job import Job, StageFailure
from fretsaw_engine.methods.assemble.child import (
    child_config,
    child_tensors,
    kept_experts,
    read_architecture,
)
from fretsaw_engine.methods.assemble.verify import verify_experts
from fretsaw_engine.methods.score.ranking import read_ranking
from fretsaw_engine.moe.checkpoint import (
    open_tensors,
    read_config,
    stop_at_turn_ends,
    write_checkpoint,
)
from fretsaw_engine.moe.gpt_oss import expert_counts
from fretsaw_engine.training.settings import read_settings, require


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeSettings:
    """YaRN's factor for the child."""

    factor: float

    def __post_init__(self) -> None:
        require(self.factor > 0, "rope.factor must be positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class AssembleSettings:
    """`seed` is used by keep `random` alone."""

    keep: Literal["ranked", "random"] = "ranked"
    seed: int = 1
    rope: RopeSettings | None = None


def run(job: Job) -> None:
    settings = read_settings(AssembleSettings, job.settings)
    parent = job.input("model").path
    config = read_config(parent)
    if (config.get("quantization_config") or {}).get("kv_cache_scheme"):
        raise StageFailure(
            "BAD_INPUT", "the parent has KV scales: calibrate the child, not the parent"
        )
    layers = read_architecture(job.input("architecture").path, config)
    orders = read_ranking(job.input("ranking").path, expert_counts(config))
    kept = kept_experts(layers, orders, settings.keep, settings.seed)
    factor = settings.rope.factor if settings.rope else None
    child = child_config(config, layers, factor)
    with open_tensors(parent) as tensors:
        write_checkpoint(
            job.outputs["checkpoint"], child, child_tensors(tensors, child, kept), parent
        )
    stop_at_turn_ends(job.outputs["checkpoint"])
    verify_experts(job.outputs["checkpoint"], parent, kept)
    document = {"schema": "fretsaw/kept-experts/v1", "layers": kept}
    text = json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n"
    (job.outputs["kept"] / "kept.json").write_text(text, encoding="utf-8")
