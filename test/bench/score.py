"""`npm run bench:score`: replace-one-block scoring here and the plain way, on the same model and data.

The plain way is a whole forward pass of the replaced model for every (layer, choice), with transformers' own
modules. Each way runs in a process of its own, on one thread; times are CPU seconds, so a busy machine does not
change them, and wall seconds beside them. Prints, for every metric: forward passes (attention, expert products),
both times, peak memory, the ratio of CPU seconds, and the largest difference of a score. Fails if a goal is missed.

    score.py [--layers 8] [--hidden 128] [--experts 32] [--tokens 8192]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from fretsaw_engine.data.packed import attention_mask, pack
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.methods.score import blocks, units
from fretsaw_engine.methods.score.experts import unit_name
from fretsaw_engine.methods.score.kept import Kept
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.moe import puzzle
from fretsaw_engine.moe.checkpoint import load_tensors, open_tensors, read_config
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint

GOALS = {"activation-mse": 10.0, "hidden-mse": 2.0, "kl": 2.0}
TOLERANCE = 1e-3
LENGTH = 256
WINDOWS = [32]
MEMORY = 2**31


def calibration(tokens: int, vocabulary: int) -> Any:
    generator = torch.Generator().manual_seed(3)
    rows = [
        torch.randint(1, vocabulary, (LENGTH,), generator=generator).tolist()
        for _ in range(tokens // LENGTH)
    ]
    return pack([Document(ids=ids, mask=[1] * LENGTH) for ids in rows], LENGTH)


def counts_of(experts: int, top_k: int) -> list[int]:
    step = max(experts // 16, 1)
    return [count for count in range(step, experts, step) if count >= top_k]


def orders_of(layers: int, experts: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randperm(experts, generator=generator).tolist() for _ in range(layers)]


# ---- here


def ours(folder: Path, tokens: int, metric: str) -> dict[str, Any]:
    work = {"attention": 0, "experts": 0}
    with Parent(folder=folder, budget_bytes=MEMORY) as parent, torch.no_grad():
        packed = calibration(tokens, parent.config.vocab_size)
        count_work(parent, work)
        experts = parent.expert_counts[0]
        orders = orders_of(parent.layers, experts)
        counts = counts_of(experts, parent.top_k)
        choices = blocks.layer_choices(parent, orders, counts, WINDOWS)
        measure = blocks.measure_of(metric, parent)
        kept = Kept(folder / "kept", MEMORY)
        for layer in range(parent.layers):  # reading weights is no part of either way's time
            for number in range(experts):
                parent.expert(layer, number)
        started, began = time.process_time(), time.perf_counter()
        found: dict[str, float] = {}
        figures: list[list[Any]] = [[] for _ in choices]
        for shard in units.shards_of(packed):
            if measure.is_local:
                for unit in shard.units:
                    kept.put(unit_name(unit), parent.embed(unit))
            else:
                blocks.keep_inputs(parent, shard, kept, MEMORY)
            for layer, wanted in enumerate(choices):
                replacing = blocks.Replacing(layer=layer, choices=wanted, measure=measure)
                figures[layer].append(blocks.score_layer(parent, shard, replacing, kept, MEMORY))
        for layer, wanted in enumerate(choices):
            joined = {
                name: torch.cat([f[name] for f in figures[layer]]) for name in figures[layer][0]
            }
            for choice, score in blocks.scores_of(joined, wanted).items():
                found[f"{layer} {blocks.choice_name(choice)}"] = score.score
        seconds, wall = time.process_time() - started, time.perf_counter() - began
    whole = parent.layers * packed.input_ids.numel()
    return {
        "scores": found,
        "seconds": seconds,
        "wall": wall,
        "attention": work["attention"] / whole,
        "experts": work["experts"] / (whole * parent.top_k),
    }


def count_work(parent: Parent, work: dict[str, int]) -> None:
    attend, expert = parent.attend, parent.expert

    def attend_counted(layer: int, unit: Any, *rest: Any) -> torch.Tensor:
        work["attention"] += unit.input_ids_BT.numel()
        return attend(layer, unit, *rest)

    def expert_counted(layer: int, number: int) -> Any:
        own = expert(layer, number)

        def run(x: torch.Tensor) -> torch.Tensor:
            work["experts"] += x.shape[0]
            return own(x)

        return run

    parent.attend = attend_counted  # type: ignore[method-assign]
    parent.expert = expert_counted  # type: ignore[method-assign]


# ---- the plain way


def plain(folder: Path, tokens: int, metric: str) -> dict[str, Any]:
    config = dict(read_config(folder))
    config["block_configs"] = [
        {"num_local_experts": config["num_local_experts"], "sliding_window": window}
        for window in puzzle.layer_windows(puzzle.parse_config(config))
    ]
    config["model_type"] = "gpt_oss_puzzle"
    model = puzzle.build_model(config)
    with open_tensors(folder) as tensors:
        load_tensors(model, config, tensors)
    model.eval()
    packed = calibration(tokens, config["vocab_size"])
    experts, top_k = config["num_local_experts"], config["num_experts_per_tok"]
    orders = orders_of(config["num_hidden_layers"], experts)
    with torch.no_grad():
        started, began = time.process_time(), time.perf_counter()
        own = run_plain(model, packed, metric)
        found: dict[str, float] = {}
        passes = 1
        for layer, block in enumerate(model.config.block_configs):
            window = block["sliding_window"]
            for count in counts_of(experts, top_k):
                undo = keep_only(model.model.layers[layer].mlp, sorted(orders[layer][:count]))
                found[f"{layer} experts-{count}"] = compare(
                    metric, layer, own, run_plain(model, packed, metric)
                )
                undo()
                passes += 1
            for narrower in [w for w in WINDOWS if window is None or w < window]:
                block["sliding_window"] = narrower
                found[f"{layer} window-{narrower}"] = compare(
                    metric, layer, own, run_plain(model, packed, metric)
                )
                block["sliding_window"] = window
                passes += 1
        seconds, wall = time.process_time() - started, time.perf_counter() - began
    return {
        "scores": found,
        "seconds": seconds,
        "wall": wall,
        "attention": passes,
        "experts": passes,
    }


def run_plain(model: Any, packed: Any, metric: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Output of every layer, and the final state: log-probabilities for kl, else hidden."""
    outputs: list[list[torch.Tensor]] = [[] for _ in model.model.layers]
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out, kept=outputs[at]: kept.append(out))
        for at, layer in enumerate(model.model.layers)
        if metric == "activation-mse"
    ]
    final = []
    for start in range(0, len(packed), 16):
        part = packed.rows(start, start + 16)
        masks = {
            window: attention_mask(part.document_ids, window) for window in model.config.windows
        }
        hidden = model.model(
            input_ids=part.input_ids.long(),
            position_ids=part.position_ids.long(),
            attention_mask=masks,
            use_cache=False,
        ).last_hidden_state
        final.append(model.lm_head(hidden).log_softmax(-1) if metric == "kl" else hidden)
    for hook in hooks:
        hook.remove()
    return [torch.cat(kept) for kept in outputs if kept], torch.cat(final)


def keep_only(mlp: Any, kept: list[int]) -> Any:
    """Cuts experts and router of a layer down; gives back what undoes it."""
    modules = [
        (mlp.router, ("weight", "bias")),
        (mlp.experts, tuple(dict(mlp.experts.named_parameters()))),
    ]
    before = [(module, name, getattr(module, name)) for module, names in modules for name in names]
    count = mlp.experts.num_experts
    for module, name, value in before:
        setattr(module, name, torch.nn.Parameter(value.data[kept], requires_grad=False))
    mlp.experts.num_experts = mlp.router.num_experts = len(kept)

    def undo() -> None:
        for module, name, value in before:
            setattr(module, name, value)
        mlp.experts.num_experts = mlp.router.num_experts = count

    return undo


def compare(metric: str, layer: int, own: Any, other: Any) -> float:
    if metric == "kl":
        p, q = own[1], other[1]
        return float((p.exp() * (p - q)).sum(-1, dtype=torch.float64).mean())
    a, b = (own[0][layer], other[0][layer]) if metric == "activation-mse" else (own[1], other[1])
    return float((b - a).double().square().sum() / a.double().square().sum())


# ---- both


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("layers", 8), ("hidden", 128), ("experts", 32), ("tokens", 8192)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--run", nargs=3, metavar=("WAY", "METRIC", "FOLDER"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.run is not None:
        way, metric, folder = asked.run
        result = (ours if way == "ours" else plain)(Path(folder), asked.tokens, metric)
        result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write_nano_checkpoint(
            folder,
            seed=1,
            layers=asked.layers,
            hidden=asked.hidden,
            intermediate=asked.hidden,
            experts=asked.experts,
            experts_per_token=4,
            heads=4,
            kv_heads=2,
            head_dim=asked.hidden // 4,
            sliding_window=64,
        )
        sys.exit(report(asked, folder))


def report(asked: argparse.Namespace, folder: Path) -> int:
    missed = 0
    print(
        "metric          way    forward passes (attention, experts)  CPU s   wall s    peak MiB  plain ÷ ours  largest difference"
    )
    for metric, goal in GOALS.items():
        results = {way: run_way(asked, way, metric, folder) for way in ("plain", "ours")}
        theirs, own = results["plain"], results["ours"]
        assert set(theirs["scores"]) == set(own["scores"]), "the ways scored different choices"
        ratio = theirs["seconds"] / own["seconds"]
        worst = max(abs(own["scores"][k] / v - 1) for k, v in theirs["scores"].items())
        for way, result in results.items():
            last = f"{ratio:12.1f}  {worst:.1e}" if way == "ours" else ""
            print(
                f"{metric:15} {way:6} {result['attention']:15.1f} {result['experts']:19.1f} "
                f"{result['seconds']:8.1f} {result['wall']:8.1f} {result['peak'] / 2**20:11.0f}  {last}"
            )
        if ratio < goal or worst > TOLERANCE:
            missed += 1
            print(f"{metric}: the goal is {goal} times cheaper, scores within {TOLERANCE}")
    return 1 if missed else 0


def run_way(asked: argparse.Namespace, way: str, metric: str, folder: Path) -> dict[str, Any]:
    argv = [
        sys.executable,
        __file__,
        "--tokens",
        str(asked.tokens),
        "--run",
        way,
        metric,
        str(folder),
    ]
    return json.loads(
        subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


if __name__ == "__main__":
    main()
