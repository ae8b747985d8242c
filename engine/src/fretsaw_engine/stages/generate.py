"""Stage `generate`: a model writes answers; those that ended become packed training data."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from fretsaw_engine.data.packed import file_digest, pack, read_dataset, write_dataset
from fretsaw_engine.harmony.render import tokenizer_renderer
from fretsaw_engine.methods.generate.answers import (
    GenerateSettings,
    questions,
    sort_answers,
    write_answers,
)
from fretsaw_engine.methods.generate.rollout import (
    ServerRollout,
    TransformersRollout,
    VllmRollout,
)
from fretsaw_engine.methods.generate.served import prove_served
from fretsaw_engine.moe.checkpoint import load_model, load_tokenizer, stop_ids
from fretsaw_engine.training import distributed
from fretsaw_engine.training.determinism import make_deterministic
from fretsaw_engine.training.settings import read_settings

if TYPE_CHECKING:
    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.generate.answers import Sorted
    from fretsaw_engine.methods.generate.rollout import Rollout
    from fretsaw_engine.methods.generate.served import Served


def run(job: Job) -> None:
    settings = read_settings(GenerateSettings, job.settings)
    if settings.rollout.engine != "transformers" and not _speaks_for_all():
        return
    make_deterministic(settings.seed, job.threads)
    distributed.start()
    folder = job.input("model").path
    tokenizer = load_tokenizer(folder)
    data = read_dataset(job.input("prompts").path)
    asked = questions(data.examples, tokenizer_renderer(tokenizer), settings)
    stop = stop_ids(folder)
    rollout = _rollout(job, settings, stop, tokenizer.pad_token_id)
    served = None
    if isinstance(rollout, ServerRollout):
        prompts = [question.ids for question in asked]
        served = prove_served(job, rollout, prompts, settings.rollout.tolerance)
    answers = write_answers(job, rollout, asked, settings)
    if distributed.rank() != 0:
        return
    found = sort_answers(data.examples, asked, answers, settings.effort, tokenizer)
    length = data.description.get("sequence_length") or 0
    longest = max((len(document.ids) for document in found.documents), default=1)
    write_dataset(
        job.outputs["data"],
        examples=found.examples,
        packed=pack(found.documents, max(length, longest), tokenizer.pad_token_id),
        description={
            "split": data.description.get("split"),
            "tokenizer_digest": file_digest(folder / "tokenizer.json"),
            "effort": settings.effort,
            "capped": len(found.capped),
        },
    )
    _write_capped(job, found, len(asked), served)


def _speaks_for_all() -> bool:
    """vLLM and servers make their own processes: the first rank talks to them, the others are not
    needed. It is one process by itself from here on."""
    if distributed.rank() != 0:
        return False
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
    return True


def _rollout(job: Job, settings: GenerateSettings, stop: list[int], pad_id: int) -> Rollout:
    folder, chosen = job.input("model").path, settings.rollout
    if chosen.engine == "vllm":
        return VllmRollout(folder, stop, int(job.resources.get("gpus") or 1))
    if chosen.engine == "server":
        return ServerRollout(chosen.base_url(), stop, chosen.concurrency)
    dtype = torch.bfloat16 if distributed.device().type == "cuda" else torch.float32
    return TransformersRollout(load_model(folder, dtype).to(distributed.device()), stop, pad_id)


def _write_capped(job: Job, found: Sorted, asked: int, served: Served | None) -> None:
    """The listing of answers kept out, how many of how many by task and reason, and how it is known
    that a server gave them for this model."""
    folder = job.outputs["capped"]
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in found.capped)
    (folder / "capped.jsonl").write_text(lines, encoding="utf-8")
    counts = Counter(f"{row['task']}/{row['reason']}" for row in found.capped)
    summary: dict[str, Any] = {
        "schema": "fretsaw/capped/v1",
        "asked": asked,
        "kept": len(found.examples),
        "capped": len(found.capped),
        "by_task": dict(sorted(counts.items())),
    }
    if served is not None:
        summary["served"] = asdict(served)
    text = json.dumps(summary, indent=1, sort_keys=True) + "\n"
    (folder / "capped.json").write_text(text, encoding="utf-8")
