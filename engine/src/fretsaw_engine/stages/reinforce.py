"""Stage `reinforce`: GRPO with verifiable rewards, router and experts frozen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fretsaw_engine.data.packed import read_dataset
from fretsaw_engine.harmony.render import tokenizer_renderer
from fretsaw_engine.methods.generate.rollout import ServerRollout
from fretsaw_engine.methods.generate.served import prove_served
from fretsaw_engine.methods.reinforce.prompts import plan_prompts
from fretsaw_engine.moe.checkpoint import load_tokenizer, stop_ids
from fretsaw_engine.training import distributed
from fretsaw_engine.training.determinism import make_deterministic
from fretsaw_engine.training.export import export_checkpoint
from fretsaw_engine.training.frozen import trainable_parameters
from fretsaw_engine.training.load import load_frozen, load_trainable
from fretsaw_engine.training.settings import read_settings

if TYPE_CHECKING:
    from fretsaw_engine.job import Job


def run(job: Job) -> None:
    # TRL warns that rollout_func may change; our pinned version is what the tests hold it to.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from fretsaw_engine.methods.reinforce.train import ReinforceSettings, train

    settings = read_settings(ReinforceSettings, job.settings)
    make_deterministic(settings.seed, job.threads)
    distributed.start()
    folder = job.input("model").path
    tokenizer = load_tokenizer(folder)
    planned = plan_prompts(
        read_dataset(job.input("prompts").path).examples,
        tokenizer_renderer(tokenizer),
        tokenizer,
        count=settings.steps * settings.prompts_per_step,
        shares=settings.shares,
        seed=settings.seed,
    )
    stop = stop_ids(folder)
    # A server that an earlier attempt has sent its weights to is no longer at the start.
    is_first = job.resume is None and distributed.rank() == 0
    if settings.rollout.engine == "server" and is_first:
        server = ServerRollout(settings.rollout.base_url(), stop, settings.rollout.concurrency)
        prove_served(job, server, [prompt.ids for prompt in planned], settings.rollout.tolerance)
    model = load_trainable(folder)
    reference = None
    if settings.kl_beta > 0:
        given = job.optional_input("reference")
        reference = load_frozen(folder if given is None else given.path)
    session = train(job, settings, model, reference, planned, tokenizer, stop)
    export_checkpoint(job.outputs["checkpoint"], folder, trainable_parameters(model))
    if distributed.rank() == 0:
        session.write_records(job.outputs["curves"], "curves")
        session.write_records(job.outputs["samples"], "samples")
