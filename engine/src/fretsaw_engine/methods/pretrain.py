"""Training of the rehearsal's parent: a gpt-oss of two million weights that reasons, on seeded
tasks.

Order of events, each for a reason that was measured:

1. *Drill.* Recall of a value from a list is an induction circuit; it forms suddenly or not at all.
So it forms first, alone, with many answered queries a row, and lists grow on success only.
2. *Mixture.* All tasks at all efforts, with drills kept among them.
3. *Quantised.* The last part trains under the rounding that the checkpoint will have: experts
through MXFP4, everything else through bfloat16, gradients straight through (Bengio et al., arXiv
1308.3432).

All along, half of the rows are *thinned*: a few full-attention layers see the short window only, a
few experts of every layer are not there (structured dropout, Fan et al., arXiv 1909.11556). A
large model has such redundancy by its size; a model of two million weights would fall silent with
its first layer windowed, and nothing could be scored.

Initialisation follows "Mimetic Initialization of Self-Attention Layers" (Trockman and Kolter, arXiv
2305.09828): in full-attention layers queries and keys begin alike, so that a token first attends to
its like; values and outputs begin as a faint identity, and the output matrix as a copy of the
embedding. Recall forms in 200 steps so, and in 450 or never otherwise.

A batch depends on (seed, step, stage of the curriculum) alone, so a resumed run sees what it would
have seen.

Shape suffixes: R rows, T tokens, V vocabulary, N tokens of a batch, E experts, K experts of a
token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch.func import functional_call

from fretsaw_engine.data.packed import PADDING, Packed, attention_mask, fill
from fretsaw_engine.harmony import tokens
from fretsaw_engine.moe import gpt_oss, mxfp4
from fretsaw_engine.rehearsal import tasks

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from fretsaw_engine.harmony.render import Renderer

DRILL = "drill"
"""A document kind of training only: a list, then all its pairs again in another order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """Sizes of the parent; the vocabulary is the tokenizer's."""

    layers: int = 8
    hidden: int = 64
    intermediate: int = 64
    experts: int = 16
    experts_per_token: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    sliding_window: int = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainSettings:
    """What `pretrain` is asked for."""

    seed: int = 1
    steps: int = 3750
    batch_size: int = 32
    sequence_length: int = 96
    learning_rate: float = 3e-3
    last_learning_rate: float = 1e-5
    warmup_steps: int = 100
    decay_from: float = 0.4
    quantise_from: float = 0.7
    weight_decay: float = 0.05
    clip: float = 1.0
    balance: float = 0.004
    late_balance: float = 0.01
    thin_rows: float = 0.5
    late_thin_rows: float = 0.25
    thin_layers: int = 2
    thin_experts: int = 4
    drill_pairs: tuple[int, int] = (8, 24)
    drill_success: float = 0.95
    drill_most_steps: int = 1500
    drill_queries: int = 12
    mixture: dict[str, float] = field(
        default_factory=lambda: {"arithmetic": 0.45, "recall": 0.2, "format": 0.25, DRILL: 0.1}
    )
    tasks: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"recall": {"pairs": [4, 24], "beyond": 0}}
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    snapshot_every: int = 250
    evaluate_every: int = 500
    evaluate_examples: int = 32
    final_examples: int = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """A document to train on, and what it teaches (`arithmetic/high`, `drill`)."""

    ids: list[int]
    mask: list[int]
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The rows of one step; `labels[document_ids]` says what each token belongs to.

    `windowed_LR`: whether layer L sees the short window in row R. `absent_LRE`: whether expert E of
    layer L is absent from row R.
    """

    rows: Packed
    labels: list[str]
    windowed_LR: torch.Tensor
    absent_LRE: torch.Tensor


@dataclass(kw_only=True, slots=True)
class Curriculum:
    """Where the drill stands. `pairs` is the length of its lists; `mixed_at` the step when it
    ended.
    """

    pairs: int
    accuracy: float = 0.0
    mixed_at: int | None = None

    def advance(self, settings: PretrainSettings, step: int, accuracy: float) -> None:
        """Take in a drill batch's accuracy; lengthen on success only, end at the full length."""
        self.accuracy = 0.9 * self.accuracy + 0.1 * accuracy
        if step >= settings.drill_most_steps:
            self.mixed_at = step
        if self.accuracy < settings.drill_success:
            return
        if self.pairs >= settings.drill_pairs[1]:
            self.mixed_at = step
        else:
            self.pairs = min(self.pairs + 2, settings.drill_pairs[1])
            self.accuracy = 0.0


def config_document(settings: PretrainSettings) -> dict[str, Any]:
    """config.json of the parent."""
    sizes = settings.model
    return gpt_oss.config_document(
        vocab_size=len(tokens.vocabulary()),
        layers=sizes.layers,
        hidden=sizes.hidden,
        intermediate=sizes.intermediate,
        experts=sizes.experts,
        experts_per_token=sizes.experts_per_token,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        sliding_window=sizes.sliding_window,
    )


def initialise(model: Any, seed: int) -> None:
    """Mimetic initialisation, in place; depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, std: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)

    def bases(count: int, rows: int, columns: int) -> torch.Tensor:
        """`count` matrices [rows, columns] whose rows together are orthonormal."""
        square, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
        repeats = math.ceil(count * rows / columns)
        return square.repeat(repeats, 1)[: count * rows].reshape(count, rows, columns)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            elif name.endswith(("bias", "sinks")):
                parameter.zero_()
            else:
                normal(parameter, 0.5 if name == "model.embed_tokens.weight" else 0.06)
        hidden = model.config.hidden_size
        head_dim = model.config.head_dim
        kv_heads = model.config.num_key_value_heads
        group = model.config.num_attention_heads // kv_heads
        for kind, attention in zip(
            model.config.layer_types, gpt_oss.attention_modules(model), strict=True
        ):
            values = bases(kv_heads, head_dim, hidden)
            attention.v_proj.weight.view(kv_heads, head_dim, hidden).add_(0.7 * values)
            outputs = attention.o_proj.weight.view(hidden, kv_heads, group, head_dim)
            outputs.add_(0.7 / group * values.permute(2, 0, 1)[:, :, None])
            if kind == gpt_oss.FULL:
                alike = 0.7 * bases(kv_heads, head_dim, hidden)
                attention.k_proj.weight.view(kv_heads, head_dim, hidden).add_(alike)
                queries = attention.q_proj.weight.view(kv_heads, group, head_dim, hidden)
                queries.add_(alike[:, None])
        model.lm_head.weight.copy_(0.2 * model.model.embed_tokens.weight)


def learning_rate(settings: PretrainSettings, step: int) -> float:
    """Linear warm-up, constant, then a half cosine down to `last_learning_rate`. Steps count from
    1.
    """
    start = settings.decay_from * settings.steps
    rate = settings.learning_rate * min(1.0, step / max(1, settings.warmup_steps))
    if step <= start:
        return rate
    done = min(1.0, (step - start) / (settings.steps - start))
    low = settings.last_learning_rate
    return low + (settings.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """What changes as training goes on, apart from the learning rate.

    While the learning rate decays fewer rows are thinned and routing is evened out more, so that no
    expert ends without tokens.
    """

    quantised: bool
    balance: float
    thin_rows: float


def phase(settings: PretrainSettings, step: int) -> Phase:
    """The phase of a step; steps count from 1."""
    late = step > settings.decay_from * settings.steps
    return Phase(
        quantised=step > settings.quantise_from * settings.steps,
        balance=settings.late_balance if late else settings.balance,
        thin_rows=settings.late_thin_rows if late else settings.thin_rows,
    )


def batch(
    settings: PretrainSettings, step: int, curriculum: Curriculum, renderer: Renderer
) -> Batch:
    """The rows of one step."""
    rng = tasks.seeded(f"fretsaw/pretrain/{settings.seed}/{step}")
    documents = _drills(settings, curriculum.pairs, renderer, rng)
    if curriculum.mixed_at is not None:
        documents = _mixture(settings, renderer, rng)
    rows, lessons = fill(documents, settings.batch_size, settings.sequence_length, pad_id=0)
    share = phase(settings, step).thin_rows
    windowed_LR, absent_LRE = thinning(settings, share, len(rows), rng)
    return Batch(
        rows=rows,
        labels=[lesson.label for lesson in lessons],
        windowed_LR=windowed_LR,
        absent_LRE=absent_LRE,
    )


def thinning(
    settings: PretrainSettings, share: float, rows: int, rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw what is missing in a `share` of rows: bool [L, R] windowed, [L, R, E] absent experts.

    At least as many experts stay as a token takes, and one layer keeps full attention.
    """
    sizes = settings.model
    full = [
        layer
        for layer, kind in enumerate(gpt_oss.alternating_layer_types(sizes.layers))
        if kind == gpt_oss.FULL
    ]
    most_layers = min(settings.thin_layers, len(full) - 1)
    most_experts = min(settings.thin_experts, sizes.experts - sizes.experts_per_token)
    windowed_LR = torch.zeros(sizes.layers, rows, dtype=torch.bool)
    absent_LRE = torch.zeros(sizes.layers, rows, sizes.experts, dtype=torch.bool)
    for row in range(rows):
        if rng.random() >= share:
            continue
        windowed_LR[rng.sample(full, rng.randint(0, most_layers)), row] = True
        for layer in range(sizes.layers):
            gone = rng.sample(range(sizes.experts), rng.randint(0, most_experts))
            absent_LRE[layer, row, gone] = True
    return windowed_LR, absent_LRE


def _mixture(
    settings: PretrainSettings, renderer: Renderer, rng: random.Random
) -> Iterator[Lesson]:
    # The order of the keys in a job file must not matter.
    kinds = [kind for kind in (*tasks.TASKS, DRILL) if kind in settings.mixture]
    weights = [settings.mixture[kind] for kind in kinds]
    drills = _drills(settings, settings.drill_pairs[1], renderer, rng)
    task_settings = {
        kind: tasks.read_settings(kind, settings.tasks.get(kind, {}))
        for kind in kinds
        if kind != DRILL
    }
    while True:
        kind = rng.choices(kinds, weights)[0]
        if kind == DRILL:
            yield next(drills)
            continue
        example = tasks.draw(kind, task_settings[kind], rng)
        if tasks.split_of(example) == "train":
            effort = rng.choice(tokens.EFFORTS)
            document = renderer.document([*example.messages, reference(example, effort)], effort)
            yield Lesson(ids=document.ids, mask=document.mask, label=f"{kind}/{effort}")


def reference(example: tasks.Example, effort: str) -> dict[str, str]:
    """The assistant message that answers `example` at this effort."""
    target = example.targets[effort]
    return {"role": "assistant", "content": target.final, "thinking": target.analysis}


def _drills(
    settings: PretrainSettings, pairs: int, renderer: Renderer, rng: random.Random
) -> Iterator[Lesson]:
    """`recall k1 v1 k2 v2 ... ? k` -> `k v k' v' ...`, trained on the values alone."""
    asked = tasks.RecallSettings(pairs=(pairs, pairs), beyond=0)
    while True:
        example = tasks.draw("recall", asked, rng)
        words = example.prompt.split()[1:-2]
        listed = [words[i : i + 2] for i in range(0, len(words), 2)]
        first = example.targets["low"].final.split()
        others = [pair for pair in listed if pair != first]
        rng.shuffle(others)
        queries = [first, *others[: settings.drill_queries - 1]]
        content = " ".join(" ".join(pair) for pair in queries)
        message = {"role": "assistant", "content": content}
        document = renderer.document([*example.messages, message], "low")
        start = len(document.ids) - 2 * len(queries) - 1
        mask = [0] * len(document.ids)
        for query in range(len(queries)):
            mask[start + 2 * query + 1] = 1
        if tasks.split_of(example) == "train":
            yield Lesson(ids=document.ids, mask=mask, label=DRILL)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """Figures of one batch: loss and accuracy over trained tokens, unevenness of routing."""

    loss: torch.Tensor
    cross_entropy: float
    accuracy: float
    balance: float
    accuracy_of: dict[str, float]


def forward(
    model: Any, batch: Batch, window: int, *, quantised: bool = False, balance: float = 0.0
) -> StepResult:
    """Loss of one batch: cross entropy over the mask plus `balance` times the load-balancing loss.

    Load balancing is that of Switch (arXiv 2101.03961, equations 4 to 6), each layer by itself:
    E sum_e f_e P_e, where f_e is the share of picks and P_e the mean probability of expert e.
    """
    rows = batch.rows
    routed: list[tuple[torch.Tensor, torch.Tensor]] = []
    full_mask = attention_mask(rows.document_ids, None)
    short_mask = attention_mask(rows.document_ids, window)
    hooks = _hooks(model, batch, full_mask, short_mask, routed)
    inputs = {
        "input_ids": rows.input_ids.long(),
        "position_ids": rows.position_ids.long(),
        "attention_mask": {
            gpt_oss.FULL: full_mask,
            gpt_oss.SLIDING: short_mask,
        },
        "use_cache": False,
    }
    try:
        if quantised:
            hidden_RTH = functional_call(model.model, rounded_parameters(model.model), (), inputs)[
                0
            ]
            head = straight_through(model.lm_head.weight, _bfloat16(model.lm_head.weight))
        else:
            hidden_RTH = model.model(**inputs)[0]
            head = model.lm_head.weight
    finally:
        for hook in hooks:
            hook.remove()
    trained_RT = rows.loss_mask[:, 1:] == 1
    logits_NV = F.linear(hidden_RTH[:, :-1][trained_RT], head)
    target_N = rows.input_ids[:, 1:][trained_RT].long()
    cross_entropy = F.cross_entropy(logits_NV, target_N)
    real_N = (rows.document_ids != PADDING).flatten()
    unevenness = torch.stack([load_balance(lo[real_N], ix[real_N]) for lo, ix in routed]).mean()
    right_N = (logits_NV.argmax(-1) == target_N).float()
    return StepResult(
        loss=cross_entropy + balance * unevenness,
        cross_entropy=cross_entropy.item(),
        accuracy=right_N.mean().item(),
        balance=unevenness.item(),
        accuracy_of=_by_label(right_N, rows.document_ids[:, 1:][trained_RT], batch.labels),
    )


def _hooks(
    model: Any,
    batch: Batch,
    full_mask: torch.Tensor,
    short_mask: torch.Tensor,
    routed: list[tuple[torch.Tensor, torch.Tensor]],
) -> list[Any]:
    """Thin the layers as the batch says, and note in `routed` each router's logits and picks."""
    hooks: list[Any] = []
    length = batch.rows.input_ids.shape[1]
    for layer, attention in enumerate(gpt_oss.attention_modules(model)):
        if batch.windowed_LR[layer].any():
            mask = torch.where(batch.windowed_LR[layer][:, None, None, None], short_mask, full_mask)
            hooks.append(
                attention.register_forward_pre_hook(
                    lambda _module, args, named, mask=mask: (
                        args,
                        {**named, "attention_mask": mask},
                    ),
                    with_kwargs=True,
                )
            )
    for layer, router in enumerate(gpt_oss.router_modules(model)):
        absent_NE = batch.absent_LRE[layer].repeat_interleave(length, dim=0)

        def route(module: Any, _inputs: Any, out: Any, absent_NE: torch.Tensor = absent_NE) -> Any:
            logits_NE = out[0]
            value_NK, picked_NK = logits_NE.masked_fill(absent_NE, -math.inf).topk(module.top_k)
            routed.append((logits_NE, picked_NK))
            return logits_NE, value_NK.softmax(-1), picked_NK

        hooks.append(router.register_forward_hook(route))
    return hooks


def _by_label(right_N: torch.Tensor, owner_N: torch.Tensor, labels: list[str]) -> dict[str, float]:
    """Share of trained tokens that are right, for every label of the batch."""
    names = sorted(set(labels))
    number_of = torch.tensor([names.index(label) for label in labels])
    label_N = number_of[owner_N.long()]
    total = torch.bincount(label_N, minlength=len(names))
    right = torch.bincount(label_N, weights=right_N, minlength=len(names))
    return {n: float(r / t) for n, r, t in zip(names, right, total, strict=True) if t > 0}


def load_balance(logits_NE: torch.Tensor, picked_NK: torch.Tensor) -> torch.Tensor:
    """E sum_e f_e P_e: 1 when routing is even, up to E when one expert gets everything."""
    experts = logits_NE.shape[-1]
    share_E = torch.bincount(picked_NK.flatten(), minlength=experts) / picked_NK.numel()
    return experts * (share_E * logits_NE.softmax(-1).mean(0)).sum()


def straight_through(value: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """`rounded` forwards, the gradient of `value` backwards."""
    return value + (rounded - value).detach()


def rounded_parameters(module: Any) -> dict[str, torch.Tensor]:
    """Every parameter as a checkpoint would give it back, with gradients straight through."""
    return {
        name: straight_through(
            parameter,
            mxfp4.round_trip(parameter)
            if name.endswith(tuple(f".mlp.experts.{p}" for p in gpt_oss.EXPERT_PROJECTIONS))
            else _bfloat16(parameter),
        )
        for name, parameter in module.named_parameters()
    }


def _bfloat16(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to(torch.bfloat16).to(value.dtype)


def optimizer(model: Any, settings: PretrainSettings) -> torch.optim.AdamW:
    """AdamW; matrices decay, vectors do not."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
