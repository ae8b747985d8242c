"""`npm run bench:score:120b`: both scoring stages on gpt-oss-120b's real geometry cut to two layers.

Hidden 2880, 128 experts of 2880, 64 heads, random MXFP4 weights in shards of 1 GiB (3.4 GB), a vocabulary of
4096. Written to a temporary folder and deleted. Each stage is a job in a process of its own; prints wall and CPU
seconds and its peak memory. Fails at 10 GiB or more. A whole layer dequantised would take 12 GiB by itself.

    score_120b.py [--tokens 1024] [--layers 2] [--memory-gib 4] [--scratch FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from fretsaw_engine.data.packed import pack, write_dataset
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.moe.checkpoint import write_checkpoint
from fretsaw_engine.moe.gpt_oss import config_document, tensor_shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 10 * 2**30
LENGTH = 512
VOCABULARY = 4096


def tensors(config: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Random weights of about unit gain: scales of 2^-9 .. 2^-7 for experts, 1/sqrt(inputs) for the rest."""
    generator = torch.Generator().manual_seed(1)
    for name, shape in tensor_shapes(config).items():
        if name.endswith("_blocks"):
            yield name, torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        elif name.endswith("_scales"):
            yield name, torch.randint(118, 121, shape, dtype=torch.uint8, generator=generator)
        elif name.endswith("norm.weight"):
            yield name, torch.ones(shape, dtype=torch.bfloat16)
        else:
            spread = 1.0 if "embed" in name else shape[-1] ** -0.5
            yield name, (torch.randn(shape, generator=generator) * spread).to(torch.bfloat16)


def write_data(folder: Path, tokens: int) -> None:
    generator = torch.Generator().manual_seed(2)
    rows = torch.randint(1, VOCABULARY, (tokens // LENGTH, LENGTH), generator=generator).tolist()
    documents = [Document(ids=ids, mask=[0] * (LENGTH - 4) + [1] * 4) for ids in rows]
    packed = pack(documents, LENGTH)
    write_dataset(folder, examples=[{}] * len(rows), packed=packed, description={})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--memory-gib", type=float, default=4.0)
    parser.add_argument("--scratch", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.scratch) as scratch:
        sys.exit(measure(asked, Path(scratch)))


def measure(asked: argparse.Namespace, scratch: Path) -> int:
    config = config_document(
        vocab_size=VOCABULARY,
        layers=asked.layers,
        hidden=2880,
        intermediate=2880,
        experts=128,
        experts_per_token=4,
        heads=64,
        kv_heads=8,
        head_dim=64,
        sliding_window=128,
    )
    model, data = scratch / "model", scratch / "data"
    started = time.monotonic()
    write_checkpoint(model, config, tensors(config), assets_from=model, shard_bytes=2**30)
    size = sum(path.stat().st_size for path in model.iterdir())
    shards = len(list(model.glob("*.safetensors")))
    print(f"checkpoint: {size / 1e9:.2f} GB in {shards} shards, {time.monotonic() - started:.0f} s")
    write_data(data, asked.tokens)
    inputs = {"model": model, "data": data}
    ranked = run_stage(asked, scratch, "score-experts", {"min_tokens_per_expert": 0}, inputs)
    inputs["experts"] = scratch / "score-experts" / "ranking"
    counts = list(range(8, 129, 8))
    settings = {"expert_counts": counts, "windows": [128, 256], "metric": "activation-mse"}
    scored = run_stage(asked, scratch, "score-blocks", settings, inputs)
    return 0 if max(ranked, scored) < LIMIT else 1


def run_stage(
    asked: argparse.Namespace, scratch: Path, kind: str, settings: dict, inputs: dict[str, Path]
) -> int:
    """Peak memory of the stage's process, bytes; it is the largest of the children so far."""
    folder = scratch / kind
    folder.mkdir()
    output = "ranking" if kind == "score-experts" else "scores"
    job = {
        "schema": "fretsaw/job/v1",
        "key": "sha256:" + "0" * 64,
        "kind": kind,
        "version": "1",
        "attempt": 1,
        "with": settings,
        "inputs": {
            name: {"digest": "sha256:0", "path": str(path)} for name, path in inputs.items()
        },
        "outputs": {output: str(folder / output)},
        "resources": {"memory_gib": asked.memory_gib},
        "threads": int(os.environ.get("OMP_NUM_THREADS", "2")),
        "folder": str(folder),
        "lease": {"seconds": 0},
    }
    (folder / "job.json").write_text(json.dumps(job))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    code = subprocess.run(
        [sys.executable, "-m", "fretsaw_engine", str(folder / "job.json")]
    ).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != 0:
        sys.exit((folder / "events.jsonl").read_text().splitlines()[-1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = after.ru_maxrss * 1024
    print(
        f"{kind}: {asked.tokens} tokens, {time.monotonic() - started:.0f} s wall, {cpu:.0f} s CPU, "
        f"peak {peak / 2**30:.2f} GiB (limit {LIMIT / 2**30:.0f})"
    )
    return peak


if __name__ == "__main__":
    main()
