"""Distillation by Fretsaw beside a plain Hugging Face loop with two full models.

    npm run bench:train -- [--layers 6] [--hidden 256] [--experts 16] [--vocab 20000]
                           [--sequence 512] [--batch 4] [--micro 4] [--steps 12]

Every mode runs in a process of its own, so that peak memory is its own. The model has random
weights (speed does not depend on them), the student keeps three quarters of the experts in every
second layer. Without a GPU the figures are those of this machine's cores; on a GPU the defaults are
the geometry of gpt-oss-20b cut to four layers, rows of 8,192 tokens one at a time. `--geometry`
measures two layers of gpt-oss-120b's geometry, forward and backward, at 8K, 32K and 128K tokens
(CUDA only). What takes longer than `--limit` seconds, or fails, is said so, and the rest goes on;
infra/bench/gpu.sh runs all that wants a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

DEFAULT_SNAPSHOT_EVERY = 50
"""Steps between snapshots where a spec says nothing (kinds/distill.ts)."""


def main() -> None:
    arguments = _arguments()
    if arguments.mode:
        result = MODES[arguments.mode](arguments)
        print(json.dumps(result))
        return
    if arguments.geometry and not torch.cuda.is_available():
        print("skipped: no CUDA device here: two layers of the real geometry need one")
        return
    with tempfile.TemporaryDirectory(prefix="fretsaw-bench-train-") as folder:
        if not arguments.folder:
            arguments.folder = folder
        if not (Path(arguments.folder) / "data").is_dir():
            write_inputs(arguments)
        if arguments.only == ["inputs"]:
            return
        if arguments.geometry:
            for length in arguments.lengths:
                alone = argparse.Namespace(**{**vars(arguments), "lengths": [length]})
                print_geometry(length, run_mode("geometry", alone))
            return
        wanted = arguments.only or [name for name in MODES if name != "geometry"]
        found = {name: run_mode(name, arguments) for name in wanted}
        done = {name: row for name, row in found.items() if "failed" not in row}
        print_training(arguments, done)
        print_loss(done)
        for name in found.keys() - done.keys():
            print(f"{name}: {found[name]['failed']}")


def run_mode(mode: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a mode finds, or {"failed": why}."""
    words = [sys.executable, __file__, "--mode", mode]
    for name, value in vars(arguments).items():
        if name in ("lengths", "only"):
            words += [f"--{name}", *map(str, value)] if value else []
        elif name == "profile":
            words += ["--profile"] if value else []
        elif name not in ("mode", "geometry"):
            words += [f"--{name.replace('_', '-')}", str(value)]
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, text=True, check=True, timeout=arguments.limit
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done within {arguments.limit:g} s"}
    except subprocess.CalledProcessError as error:
        return {"failed": f"exit code {error.returncode}; its last words stand above"}
    return json.loads(done.stdout.strip().splitlines()[-1])


# ---- the work


def write_inputs(arguments: argparse.Namespace) -> None:
    from fretsaw_engine.data.packed import pack, write_dataset
    from fretsaw_engine.harmony.render import Document
    from fretsaw_engine.methods.assemble.child import child_config, child_tensors
    from fretsaw_engine.moe.checkpoint import open_tensors, write_checkpoint
    from fretsaw_engine.moe.gpt_oss import config_document

    root = Path(arguments.folder)
    config = config_document(
        vocab_size=arguments.vocab,
        layers=arguments.layers,
        hidden=arguments.hidden,
        intermediate=arguments.intermediate,
        experts=arguments.experts,
        experts_per_token=4,
        heads=arguments.heads,
        kv_heads=arguments.kv_heads,
        head_dim=64,
        sliding_window=128,
    )
    write_checkpoint(root / "parent", config, random_tensors(config), root)
    kept = kept_experts(arguments)
    counts = [len(experts) for experts in kept]
    child = child_config(config, list(zip(counts, student_windows(arguments), strict=True)))
    with open_tensors(root / "parent") as tensors:
        write_checkpoint(root / "child", child, child_tensors(tensors, child, kept), root)
    generator = torch.Generator().manual_seed(1)
    rows = arguments.batch * (arguments.steps + 1)
    documents = [
        Document(
            ids=torch.randint(
                8, arguments.vocab, (arguments.sequence,), generator=generator
            ).tolist(),
            mask=[0] * (arguments.sequence // 4)
            + [1] * (arguments.sequence - arguments.sequence // 4),
        )
        for _ in range(rows)
    ]
    packed = pack(documents, arguments.sequence)
    write_dataset(root / "data", examples=[], packed=packed, description={"split": "train"})


def random_tensors(config: dict[str, Any]) -> Any:
    """Random weights straight in the format of the files: no encoder in between."""
    from fretsaw_engine.moe.gpt_oss import tensor_shapes

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(2)
    random: Any = {"generator": generator, "device": device}
    for name, shape in tensor_shapes(config).items():
        if name.endswith("_blocks"):
            made = torch.randint(0, 256, shape, dtype=torch.uint8, **random)
        elif name.endswith("_scales"):
            made = torch.randint(118, 122, shape, dtype=torch.uint8, **random)
        elif name.endswith("norm.weight"):
            made = torch.ones(shape, dtype=torch.bfloat16)
        else:
            made = torch.randn(shape, dtype=torch.bfloat16, **random) * 0.02
        yield name, made.cpu()


def student_windows(arguments: argparse.Namespace) -> list[int | None]:
    return [None if layer % 4 == 3 else 128 for layer in range(arguments.layers)]


def kept_experts(arguments: argparse.Namespace) -> list[list[int]]:
    fewer = arguments.experts * 3 // 4
    return [
        list(range(arguments.experts if layer % 2 else fewer)) for layer in range(arguments.layers)
    ]


def settings(arguments: argparse.Namespace, snapshot_every: int) -> dict[str, Any]:
    return {
        "tokens": arguments.batch * arguments.sequence * arguments.steps,
        "sequence_length": arguments.sequence,
        "batch_size": arguments.batch,
        "snapshot_every": snapshot_every,
        "spike_factor": 1e9,  # random weights on random tokens
        "chunk": arguments.chunk,
    }


def distil(arguments: argparse.Namespace, snapshot_every: int) -> dict[str, Any]:
    from fretsaw_engine.job import Artifact, Job
    from fretsaw_engine.stages import distill
    from fretsaw_engine.training.loop import ResumableTrainer

    root = Path(arguments.folder)
    folder = Path(tempfile.mkdtemp(dir=root))
    outputs = {name: folder / "out" / name for name in ("checkpoint", "curves")}
    for path in outputs.values():
        path.mkdir(parents=True)
    job = Job(
        key="bench",
        kind="distill",
        version="bench",
        attempt=1,
        settings=settings(arguments, snapshot_every),
        inputs={
            name: Artifact(digest=f"bench:{name}", path=root / at)
            for name, at in (("teacher", "parent"), ("student", "child"), ("data", "data"))
        },
        outputs=outputs,
        resources={"micro_batch": arguments.micro},
        threads=arguments.threads,
        folder=folder,
        resume=None,
        lease_seconds=0,
    )
    held: list[float] = []
    plain = ResumableTrainer._save_checkpoint

    def timed(self: Any, *args: Any, **more: Any) -> None:
        began = time.perf_counter()
        plain(self, *args, **more)
        held.append(time.perf_counter() - began)

    ResumableTrainer._save_checkpoint = timed  # type: ignore[method-assign]
    before = reset_peak()
    distill.run(job)
    peak = peak_bytes() - before
    lines = (folder / "events.jsonl").read_text().splitlines()
    at = [event["at"] for event in map(json.loads, lines) if event["event"] == "metrics"]
    return {
        **speed(arguments, at),
        "peak_bytes": peak,
        "held_s": held,
        "peak_flops": peak_flops(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
    }


def fretsaw(arguments: argparse.Namespace) -> dict[str, Any]:
    return distil(arguments, 10**6)


def snapshots(arguments: argparse.Namespace) -> dict[str, Any]:
    return distil(arguments, 4)


def plain(arguments: argparse.Namespace) -> dict[str, Any]:
    """transformers' Trainer, both models whole, the loss as it is written in a paper."""
    from torch.nn.functional import kl_div, log_softmax
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from fretsaw_engine.data.stored import StoredRows
    from fretsaw_engine.methods.distill.rows import IGNORED, PlannedRows, collate, plan
    from fretsaw_engine.moe.checkpoint import load_model
    from fretsaw_engine.moe.puzzle import layer_windows
    from fretsaw_engine.training.frozen import freeze_experts
    from fretsaw_engine.training.masks import window_masks

    root = Path(arguments.folder)
    torch.set_num_threads(arguments.threads)
    before = reset_peak()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    dtype = torch.bfloat16 if on_gpu else torch.float32
    teacher = load_model(root / "parent", dtype).to(device)
    student = load_model(root / "child", dtype).to(device)
    for model in (teacher, student):
        if on_gpu:
            model.set_attn_implementation("flex_attention")
    freeze_experts(student)

    def logits(model: Any, batch: Any) -> torch.Tensor:
        masks: Any = window_masks(
            layer_windows(model.config), batch["document_ids"], flex=on_gpu, dtype=dtype
        )
        if model.config.model_type == "gpt_oss":
            masks = {
                "full_attention" if w is None else "sliding_attention": m for w, m in masks.items()
            }
        return model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            attention_mask=masks,
            use_cache=False,
        ).logits[batch["labels"] != IGNORED]

    class Plain(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
            with torch.no_grad():
                target = log_softmax(logits(teacher, inputs).float(), -1)
            found = log_softmax(logits(model, inputs).float(), -1)
            return kl_div(found, target, reduction="batchmean", log_target=True)

    at: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **more: Any) -> None:
            at.append(time.time())

    stored = StoredRows([root / "data"], arguments.sequence)
    tokens = arguments.batch * arguments.sequence * arguments.steps
    chosen = plan(stored.sizes, tokens=tokens, batch=arguments.batch, seed=1, data=[])
    Plain(
        model=student,
        args=TrainingArguments(
            output_dir=str(root / "plain"),
            max_steps=chosen.steps,
            per_device_train_batch_size=arguments.micro,
            gradient_accumulation_steps=arguments.batch // arguments.micro,
            use_cpu=not on_gpu,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="no",
            remove_unused_columns=False,
        ),
        train_dataset=PlannedRows(stored, chosen),
        data_collator=collate,
        callbacks=[Clock()],
    ).train()
    peak = peak_bytes() - before
    return {**speed(arguments, at), "peak_bytes": peak, "peak_flops": peak_flops()}


def loss(arguments: argparse.Namespace, words: int, chunk: int | None) -> dict[str, Any]:
    """Loss and gradients of 8,192 tokens alone; `chunk` None is the plain formula."""
    from torch.nn.functional import kl_div, log_softmax

    from fretsaw_engine.methods.distill.loss import distillation_loss

    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokens, width = 8192, 64
    student = torch.randn(tokens, width, device=device, requires_grad=True)
    head = torch.randn(words, width, device=device, requires_grad=True)
    teacher = torch.randn(tokens, width, device=device)
    teacher_head = torch.randn(words, width, device=device)
    label = torch.randint(words, (tokens,), device=device)
    before, began = reset_peak(), time.perf_counter()
    if chunk is None:
        found = kl_div(
            log_softmax(student @ head.T, -1),
            log_softmax(teacher @ teacher_head.T, -1),
            reduction="batchmean",
            log_target=True,
        )
    else:
        found = distillation_loss(
            student, head, teacher, teacher_head, label, count=tokens, chunk=chunk
        ).loss
    found.backward()
    return {
        "seconds": time.perf_counter() - began,
        "peak_bytes": peak_bytes() - before,
        "logit_bytes": tokens * words * 4,
    }


def geometry(arguments: argparse.Namespace) -> dict[str, Any]:
    """Two layers of both models, forward and backward, by length."""
    from fretsaw_engine.methods.distill.load import load_pair
    from fretsaw_engine.training import distributed

    distributed.start()
    root = Path(arguments.folder)
    pair = load_pair(
        root / "parent",
        root / "child",
        kept_experts(arguments),
        recompute=True,
        chunk=arguments.chunk,
    )
    rows = []
    peak = peak_flops()
    for length in arguments.lengths:
        ids = torch.randint(8, arguments.vocab, (1, length), device="cuda")
        batch = {
            "input_ids": ids,
            "position_ids": torch.arange(length, device="cuda")[None],
            "document_ids": torch.zeros_like(ids, dtype=torch.int32),
            "labels": ids.roll(-1, 1),
        }
        seconds = 0.0
        for _ in range(3):  # the last is timed: kernels are compiled in the first two
            torch.cuda.synchronize()
            reset_peak()
            began = time.perf_counter()
            pair(batch, float(length)).loss.backward()
            torch.cuda.synchronize()
            seconds = time.perf_counter() - began
            pair.zero_grad()
        if arguments.profile:
            print_kernels(pair, batch)
        share = step_flops(arguments, length, length) / seconds / peak
        rows.append(
            {"tokens": length, "seconds": seconds, "peak_bytes": peak_bytes(), "share": share}
        )
    return {"rows": rows, "device": torch.cuda.get_device_name(), "peak_flops": peak}


def print_kernels(pair: Any, batch: dict[str, torch.Tensor]) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        pair(batch, float(batch["labels"].numel())).loss.backward()
        torch.cuda.synchronize()
    pair.zero_grad()
    table = seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=25)
    print(table, file=sys.stderr)


# ---- measuring


def step_flops(arguments: argparse.Namespace, length: int, supervised: int) -> float:
    """Floating-point operations of a step over one row of `length` tokens, `supervised` of which
    count: 2 an element of a product, nothing that is computed twice (so a share of peak by it is
    the model's, whatever is recomputed). The teacher reads once; of the student everything has a
    gradient of its input, and all but experts and router one of its weights.
    """
    a = arguments
    attention = a.hidden * 64 * (2 * a.heads + 2 * a.kv_heads)
    experts = 4 * 3 * a.hidden * a.intermediate
    router = a.hidden * a.experts
    windows = [128 if layer % 2 == 0 else None for layer in range(a.layers)]  # gpt-oss
    theirs = sum(_scores(a, length, window) for window in windows)
    ours = sum(_scores(a, length, window) for window in student_windows(a))
    teacher = 2 * a.layers * length * (attention + experts + router) + theirs
    student = 2 * a.layers * length * (3 * attention + 2 * (experts + router)) + 3 * ours
    return teacher + student + 2 * supervised * a.hidden * a.vocab * (1 + 3)


def _scores(arguments: argparse.Namespace, length: int, window: int | None) -> float:
    """QK and PV of one layer, over the pairs that may attend."""
    seen = length * (length + 1) / 2 if window is None else length * min(window, length)
    return 2 * 2 * arguments.heads * 64 * seen


def peak_flops() -> float | None:
    """What this device reaches in a bfloat16 product of two random 8,192-square matrices."""
    if not torch.cuda.is_available():
        return None
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(10):
        a @ b
    end.record()
    torch.cuda.synchronize()
    return 10 * 2 * 8192**3 / (start.elapsed_time(end) / 1000)


def speed(arguments: argparse.Namespace, at: list[float]) -> dict[str, Any]:
    """Median step, and tokens a second by it; the first two steps warm up."""
    steps = sorted(b - a for a, b in zip(at[1:], at[2:], strict=False))
    median = steps[len(steps) // 2]
    mean = sum(steps) / len(steps)
    tokens = arguments.batch * arguments.sequence
    return {"step_s": median, "mean_step_s": mean, "tokens_per_second": tokens / median}


def reset_peak() -> int:
    """Bytes in use now; the high-water mark starts again from here."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


# ---- telling


def print_training(arguments: argparse.Namespace, found: dict[str, dict[str, Any]]) -> None:
    rows = {title: found.get(name) for name, title in TRAININGS.items()}
    if not any(rows.values()):
        return
    print(f"{'':24}{'tokens/s':>12}{'step':>12}{'peak memory':>16}{'of peak':>10}")
    counted = arguments.sequence - arguments.sequence // 4
    flops = arguments.batch * step_flops(arguments, arguments.sequence, counted)
    for title, row in rows.items():
        if row is None:
            continue
        step, memory = f"{row['step_s']:.3f} s", f"{row['peak_bytes'] / 2**20:.0f} MiB"
        share = "-"
        if row["peak_flops"]:
            share = f"{100 * flops / row['step_s'] / row['peak_flops']:.1f} %"
        print(f"{title:24}{row['tokens_per_second']:12.0f}{step:>12}{memory:>16}{share:>10}")
    ours = found.get("fretsaw") or found.get("snapshots")
    if ours is None:
        return
    if ours["peak_flops"]:
        reached = ours["peak_flops"] / 1e12
        print(f"on {ours['device']}, where a bfloat16 product reaches {reached:.0f} TFLOP/s")
    if plain_run := found.get("plain"):
        print(f"speed, fretsaw / plain:   {plain_run['step_s'] / ours['step_s']:.2f}")
        print(f"memory, plain / fretsaw:  {plain_run['peak_bytes'] / ours['peak_bytes']:.2f}")
    if snapped := found.get("snapshots"):
        print_snapshots(ours, snapped)


def print_snapshots(ours: dict[str, Any], snapped: dict[str, Any]) -> None:
    held = sorted(snapped["held_s"])
    median = held[len(held) // 2]
    share = median / (DEFAULT_SNAPSHOT_EVERY * ours["step_s"])
    print(
        f"a snapshot holds training up for {median * 1000:.1f} ms (median of {len(held)}, digest "
        f"of frozen tensors and probe loss included): {100 * share:.2f} % of step time at the "
        f"default interval of {DEFAULT_SNAPSHOT_EVERY} steps"
    )
    if ours is snapped:
        return
    beside = (snapped["mean_step_s"] - ours["mean_step_s"]) * 4 / DEFAULT_SNAPSHOT_EVERY
    print(
        "mean step with a snapshot every 4 steps, its writing beside the training included, scaled "
        f"to that interval: {100 * beside / ours['mean_step_s']:+.2f} %"
    )


def print_loss(found: dict[str, dict[str, Any]]) -> None:
    for name, title in LOSSES.items():
        if row := found.get(name):
            print(
                f"{title:28}{row['seconds']:8.2f} s{row['peak_bytes'] / 2**20:10.0f} MiB, one "
                f"[tokens, words] tensor would be {row['logit_bytes'] / 2**20:.0f} MiB"
            )
    if "loss_plain" in found and "loss_chunked" in found:
        ratio = found["loss_plain"]["peak_bytes"] / found["loss_chunked"]["peak_bytes"]
        print(f"memory of the loss, plain / chunked: {ratio:.1f}")


def print_geometry(length: int, found: dict[str, Any]) -> None:
    if "failed" in found:
        print(f"{length:8} tokens: {found['failed']}")
        return
    for row in found["rows"]:
        rate = row["tokens"] / row["seconds"]
        print(f"{row['tokens']:8} tokens: {row['seconds']:8.3f} s, {rate:10.0f} tokens/s, ", end="")
        print(f"{row['peak_bytes'] / 2**30:.1f} GiB, {100 * row['share']:.1f} % of peak")
    reached = found["peak_flops"] / 1e12
    print(f"on {found['device']}, a bfloat16 product reaches {reached:.0f} TFLOP/s")


TRAININGS = {
    "plain": "plain Hugging Face",
    "fretsaw": "fretsaw",
    "snapshots": "a snapshot every 4 steps",
}
LOSSES = {
    "loss_plain": "loss alone, plain",
    "loss_chunked": "loss alone, chunks of 512",
    "loss_wide": "the same, wide vocabulary",
}

MODES: dict[str, Any] = {
    "plain": plain,
    "fretsaw": fretsaw,
    "snapshots": snapshots,
    "geometry": geometry,
    "loss_plain": lambda arguments: loss(arguments, 20_000, None),
    "loss_chunked": lambda arguments: loss(arguments, 20_000, 512),
    "loss_wide": lambda arguments: loss(arguments, arguments.loss_words, 512),
}


def _arguments() -> argparse.Namespace:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", default="")
    parser.add_argument("--folder", default="", help="where inputs are, or are to be, kept")
    parser.add_argument("--only", nargs="+", default=[], help='some modes, or "inputs"')
    parser.add_argument("--geometry", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for name, gpu, cpu in (
        ("layers", 4, 6),
        ("hidden", 2880, 256),
        ("intermediate", 2880, 256),
        ("experts", 32, 16),
        ("heads", 64, 4),
        ("kv-heads", 8, 2),
        ("vocab", 201_088, 20_000),
        ("sequence", 8192, 512),
        ("batch", 4, 4),
        ("micro", 1, 4),
        ("steps", 8, 12),
        ("chunk", 2048, 512),
        ("loss-words", 201_088, 201_088),
    ):
        parser.add_argument(f"--{name}", type=int, default=gpu if on_gpu else cpu)
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds of one measurement")
    parser.add_argument("--profile", action="store_true", help="kernels of the geometry's passes")
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 32768, 131072])
    found = parser.parse_args()
    if found.geometry:
        found.layers, found.experts = 2, 128
    return found


if __name__ == "__main__":
    main()
