"""GRPO (Shao et al. 2024, arXiv 2402.03300) by TRL's GRPOTrainer, with our rollouts, rewards and
snapshots.

TRL makes the loop, the advantages and the loss. Ours come in by its extension points:
`rollout_func` samples with methods/generate (an answer's seed is its step and place, so that a
resumed run samples the same), reward functions are the pure ones of rewards.py. One generation
makes one optimiser step: then the rollout buffer is empty wherever a snapshot is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from fretsaw_engine.harmony.tokens import EFFORTS
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.generate.decode import Sampling, decode, seed_of
from fretsaw_engine.methods.generate.rollout import RolloutSettings
from fretsaw_engine.methods.reinforce import rewards
from fretsaw_engine.methods.reinforce.prompts import Prompt, plan_digest
from fretsaw_engine.training import distributed
from fretsaw_engine.training.loop import ResumableTrainer, Session, common_arguments
from fretsaw_engine.training.settings import require

if TYPE_CHECKING:
    from fretsaw_engine.job import Job

PROBE_PROMPTS = 8

SHARES = {"high": {"high": 1.0}, "mixed": {"low": 1.0, "medium": 1.0, "high": 1.0}}
"""Efforts of a variant where the settings name none."""

LENGTH_WEIGHTS = {"high": {}, "mixed": {"low": 0.5, "medium": 0.2}}
"""Length terms of a variant where the settings name none; high effort is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReinforceSettings:
    """What an RL run is asked for."""

    variant: Literal["high", "mixed"]
    steps: int
    max_new_tokens: int
    efforts: dict[str, float] = field(default_factory=dict)
    group_size: int = 8
    prompts_per_step: int = 4
    learning_rate: float = 1e-5
    warmup: float = 0.0
    max_grad_norm: float = 1.0
    kl_beta: float = 0.0
    clip: float = 0.2
    temperature: float = 1.0
    format_weight: float = 0.2
    length_weight: dict[str, float] = field(default_factory=dict)
    mask_capped: bool = False
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    sample_every: int = 10
    snapshot_every: int = 10
    seed: int = 1

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "max_new_tokens",
            "prompts_per_step",
            "sample_every",
            "snapshot_every",
        ):
            require(getattr(self, name) > 0, f"{name} must be above 0")
        require(self.group_size > 1, "group_size must be 2 or more: answers are compared")
        require(self.temperature > 0, "temperature must be above 0")
        for name in ("efforts", "length_weight"):
            unknown = sorted(set(getattr(self, name)) - set(EFFORTS))
            require(not unknown, f"{name}: unknown efforts {unknown}")
            require(all(v >= 0 for v in getattr(self, name).values()), f"{name}: below 0")
        named = {effort for effort, share in self.efforts.items() if share > 0}
        if self.variant == "high":
            require(named <= {"high"}, "variant high has high effort only")
        else:
            require(not named or len(named) > 1, "variant mixed needs two efforts or more")

    @property
    def shares(self) -> dict[str, float]:
        return self.efforts or SHARES[self.variant]

    @property
    def length_weights(self) -> dict[str, float]:
        return self.length_weight or LENGTH_WEIGHTS[self.variant]


class ReinforceTrainer(ResumableTrainer, GRPOTrainer):
    """GRPOTrainer with our snapshots and guards, and one figure more: `log_prob_gap`, the mean
    absolute difference between the log probabilities that a token was sampled with and those that
    training computes for it. Where rollouts come from another engine it tells how far off-policy.
    """

    most_gap: float | None = None
    """A step's `log_prob_gap` above it is another model's: DIGEST_MISMATCH."""
    _log_probs: torch.Tensor

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        result = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        self._log_probs = result[0].detach()
        return result

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)
        mask = inputs["completion_mask"].bool()
        gaps = (self._log_probs - inputs["sampling_per_token_logps"]).abs()[mask]
        gap = gaps.mean().item() if gaps.numel() else 0.0
        self._metrics["train"]["log_prob_gap"].append(gap)
        if self.most_gap is not None and not gap <= self.most_gap:
            raise StageFailure(
                "DIGEST_MISMATCH",
                f"step {self.state.global_step + 1}: who writes the answers is {gap:.3g} nats a "
                f"token away from what trains, more than rollout.tolerance {self.most_gap:g}",
                {"gap": gap, "limit": self.most_gap},
            )
        return loss


class Judge:
    """Rewards of a step's answers, and what its log and its samples show."""

    def __init__(
        self, planned: list[Prompt], settings: ReinforceSettings, tokenizer: Any, stop: list[int]
    ) -> None:
        self._stop = frozenset(stop)
        self._planned = planned
        self._settings = settings
        self._tokenizer = tokenizer
        self.rows: list[dict[str, Any]] = []
        """The answers of the step under way, of all ranks, in order."""

    def judge(self, index: list[int], completion_ids: list[list[int]]) -> list[dict[str, Any]]:
        """The rows of this rank's answers."""
        mine = []
        settings = self._settings
        for at, ids in zip(index, completion_ids, strict=True):
            prompt = self._planned[at]
            text = self._tokenizer.decode(ids, skip_special_tokens=False)
            written = rewards.read(text)
            mine.append(
                {
                    "id": prompt.id,
                    "task": prompt.task,
                    "effort": prompt.effort,
                    "tokens": len(ids),
                    "capped": not ids or ids[-1] not in self._stop,
                    "text": text,
                    "correct": rewards.correctness(prompt.scorer, prompt.answer, written),
                    "format": rewards.format_reward(written),
                    "length": rewards.length_reward(
                        prompt.effort, len(ids), settings.max_new_tokens, settings.length_weights
                    ),
                }
            )
        self.rows = distributed.from_all(mine)
        return mine

    def figures(self) -> dict[str, float]:
        """Means over the step's answers; lengths by effort where the step had that effort."""
        rows = self.rows
        means = {
            f"reward_{part}": _mean([row[part] for row in rows])
            for part in ("correct", "format", "length")
        }
        for effort in EFFORTS:
            mine = [float(row["tokens"]) for row in rows if row["effort"] == effort]
            if mine:
                means[f"tokens_{effort}"] = _mean(mine)
        return {**means, "capped": _mean([float(row["capped"]) for row in rows])}


def train(
    job: Job,
    settings: ReinforceSettings,
    model: Any,
    reference: Any,
    planned: list[Prompt],
    tokenizer: Any,
    stop: list[int],
) -> Session:
    """Reinforce `model` in place. `reference` is None where `kl_beta` is 0."""
    judge = Judge(planned, settings, tokenizer, stop)
    samples_here = settings.rollout.engine == "transformers"
    trainer = ReinforceTrainer(
        model=model,
        reward_funcs=_reward_functions(judge),
        args=_arguments(job, settings, stop),
        train_dataset=Dataset.from_list(
            [{"prompt": prompt.text, "index": at} for at, prompt in enumerate(planned)]
        ),
        processing_class=tokenizer,
        rollout_func=_rollouts(settings, planned, stop, tokenizer.pad_token_id)
        if samples_here
        else None,
    )
    trainer.most_gap = settings.rollout.tolerance
    if reference is not None:
        # Given as an object; GRPOTrainer itself could only load one by a name on the hub.
        add_fused_lm_head(reference, temperature=settings.temperature)
        trainer.ref_model, trainer.beta = reference, settings.kl_beta
    session = Session(
        job=job,
        snapshot_every=settings.snapshot_every,
        data_digest=plan_digest(planned),
        consumed_at=lambda step: step * settings.prompts_per_step * settings.group_size,
        probe=lambda: _probe(trainer.model, planned, tokenizer.pad_token_id),
        curve=lambda logs: _curve(logs, judge, session, settings, trainer.state.global_step),
        records={"curves": [], "samples": []},
    )
    trainer.attach(session)
    trainer.run()
    return session


def _rollouts(
    settings: ReinforceSettings, planned: list[Prompt], stop: list[int], pad_id: int
) -> Any:
    """TRL's rollout function: prompts come as texts, each as often as its group is large."""
    sampling = Sampling(max_new_tokens=settings.max_new_tokens, temperature=settings.temperature)
    ids_of = {prompt.text: prompt.ids for prompt in planned}

    def rollout(texts: list[str], trainer: Any) -> dict[str, Any]:
        step = trainer.state.global_step
        first = distributed.rank() * len(texts)  # ranks have the step's prompts in order
        places = range(first, first + len(texts))
        seeds = [seed_of(settings.seed, "rollout", step, at) for at in places]
        prompt_ids = [ids_of[text] for text in texts]
        model = trainer.accelerator.unwrap_model(trainer.model)
        with distributed.whole_on_every_rank(model):
            answers = decode(model, prompt_ids, seeds, sampling, stop, pad_id)
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [answer.ids for answer in answers],
            "logprobs": [answer.log_probs for answer in answers],
        }

    return rollout


def _reward_functions(judge: Judge) -> list[Any]:
    """TRL calls them in order; the first one judges, all read."""

    mine: list[dict[str, Any]] = []

    def correct(completion_ids: Any, index: Any, **_: Any) -> list[float]:
        mine[:] = judge.judge(index, completion_ids)
        return [row["correct"] for row in mine]

    def well_formed(**_: Any) -> list[float]:
        return [row["format"] for row in mine]

    def length(**_: Any) -> list[float]:
        return [row["length"] for row in mine]

    return [correct, well_formed, length]


def _curve(
    logs: dict[str, Any], judge: Judge, session: Session, settings: ReinforceSettings, step: int
) -> dict[str, float]:
    """A step's figures; every `sample_every` steps its first group becomes samples."""
    if step == 1 or step % settings.sample_every == 0:
        first = judge.rows[: settings.group_size]
        session.records["samples"] += [{"step": step, **row} for row in first]
    shown = {
        "loss": logs["loss"],
        "answers": session.consumed_at(step),
        "learning_rate": logs["learning_rate"],
        "grad_norm": float(logs["grad_norm"]),
        "reward": logs["reward"],
        "reward_std": logs["reward_std"],
        "entropy": logs["entropy"],
        "log_prob_gap": logs["log_prob_gap"],
        **judge.figures(),
    }
    return {**shown, "kl": logs["kl"]} if "kl" in logs else shown


@torch.no_grad()
def _probe(model: Any, planned: list[Prompt], pad_id: int) -> float:
    """Mean cross-entropy of the plan's first prompts, token by token."""
    prompts = planned[:PROBE_PROMPTS]
    longest = max(len(prompt.ids) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_id)
    real = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.ids)] = torch.tensor(prompt.ids)
        real[row, : len(prompt.ids)] = 1
    ids, real = ids.to(model.device), real.to(model.device)
    was_training = model.training
    model.eval()
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits
    model.train(was_training)
    log_p = logits[:, :-1].float().log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    return float(-(log_p * real[:, 1:]).sum() / real[:, 1:].sum())


def _arguments(job: Job, settings: ReinforceSettings, stop: list[int]) -> GRPOConfig:
    answers = settings.group_size * settings.prompts_per_step
    ranks = distributed.world_size()
    micro = int(job.resources.get("micro_batch") or answers // ranks)
    if micro < 1 or answers % (micro * ranks):
        raise StageFailure(
            "BAD_INPUT",
            f"{answers} answers a step are not n x micro_batch {micro} x {ranks} processes",
        )
    turns = answers // (micro * ranks)
    return GRPOConfig(
        **common_arguments(job, settings.seed),
        **settings.rollout.trl(stop),
        max_steps=settings.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=turns,
        steps_per_generation=turns,
        num_generations=settings.group_size,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=settings.warmup,
        max_grad_norm=settings.max_grad_norm,
        epsilon=settings.clip,
        beta=0.0,
        reward_weights=[1.0, settings.format_weight, 1.0],
        mask_truncated_completions=settings.mask_capped,
        shuffle_dataset=False,
        router_aux_loss_coef=0.0,
        gradient_checkpointing=bool(job.resources.get("recompute_activations")),
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
