"""Answers in batches: against transformers' generate, against other batches, and with the crash
between shards.
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rollout_server import RolloutServer
from training_rig import (
    examples,
    load_job,
    output_bytes,
    run_killed,
    run_process,
    run_ranks,
    write_child,
    write_job,
    write_parent,
    write_prompts,
)

from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.job import StageFailure, run_job
from fretsaw_engine.methods.generate.answers import (
    GenerateSettings,
    Question,
    question_of,
    questions,
    sort_answers,
)
from fretsaw_engine.methods.generate.decode import Answer, Sampling, decode, draw
from fretsaw_engine.moe.checkpoint import load_model, load_tokenizer
from fretsaw_engine.stages import generate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generate")
    return write_child(root / "child", write_parent(root / "parent"))


def _prompts(count: int) -> list[list[int]]:
    renderer = rehearsal_renderer()
    return [renderer.prompt(question_of(example), "high") for example in examples(count)]


@pytest.mark.parametrize("which", ["parent", "child"])
def test_greedy_answers_equal_transformers_generate(tmp_path: Path, which: str) -> None:
    folder = write_parent(tmp_path / "parent")
    if which == "child":
        folder = write_child(tmp_path / "child", folder)
    model = load_model(folder)
    stop = list(range(60, 75))  # a random model says one of these soon
    prompts = _prompts(9)
    ours = decode(model, prompts, [0] * 9, Sampling(max_new_tokens=24, temperature=0), stop, 0)
    assert any(answer.ended for answer in ours)
    for prompt, answer in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        theirs = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert answer.ids == theirs


def test_an_answer_does_not_depend_on_its_neighbours_or_on_rows_that_end(child: Path) -> None:
    model = load_model(child)
    prompts, seeds = _prompts(12), list(range(12))
    sampling = Sampling(max_new_tokens=20)
    stop = list(range(60, 90))
    together = decode(model, prompts, seeds, sampling, stop, 0)
    alone = [
        decode(model, [p], [s], sampling, stop, 0)[0] for p, s in zip(prompts, seeds, strict=True)
    ]
    assert [a.ids for a in together] == [a.ids for a in alone]
    assert {a.ended for a in together} == {True, False} or all(a.ended for a in together)


def test_log_probabilities_are_those_of_the_model_read_in_one_go(child: Path) -> None:
    model = load_model(child)
    (prompt,) = _prompts(1)
    answer = decode(model, [prompt], [3], Sampling(max_new_tokens=12, temperature=0.7), [], 0)[0]
    ids = torch.tensor([prompt + answer.ids])
    with torch.no_grad():
        log_p = (model(input_ids=ids).logits / 0.7).log_softmax(-1)
    read = [float(log_p[0, len(prompt) + at - 1, token]) for at, token in enumerate(answer.ids)]
    assert answer.log_probs == pytest.approx(read, abs=1e-4)
    assert not answer.ended
    assert len(answer.ids) == 12


def test_drawing_follows_the_distribution_and_top_p_cuts_its_tail() -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    noise = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    logits = p.log().expand(10_000, 4)
    token, log_p = draw(logits, noise, Sampling(max_new_tokens=1))
    assert torch.bincount(token, minlength=4).tolist() == pytest.approx(
        [5000, 3000, 1500, 500], abs=2
    )
    assert log_p.exp().tolist() == pytest.approx(p[token].tolist())
    cut, _ = draw(logits, noise, Sampling(max_new_tokens=1, top_p=0.7))
    assert torch.bincount(cut, minlength=4).tolist() == pytest.approx([6250, 3750, 0, 0], abs=2)
    first, _ = draw(logits, noise, Sampling(max_new_tokens=1, temperature=0))
    assert set(first.tolist()) == {0}


def test_noise_of_almost_one_draws_the_last_word_with_any_probability() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    token, _ = draw(
        logits, torch.tensor([1 - 2**-53], dtype=torch.float64), Sampling(max_new_tokens=1)
    )
    assert token.tolist() == [1]


def test_an_example_listed_once_for_each_effort_is_asked_once(child: Path) -> None:
    settings = GenerateSettings(effort="high", max_new_tokens=4, samples_per_prompt=2)
    listed = examples(3) + examples(3, effort="low")
    asked = questions(listed, rehearsal_renderer(), settings)
    assert sorted((q.index, q.sample) for q in asked) == [
        (i, s) for i in range(3) for s in range(2)
    ]
    assert [len(q.ids) for q in asked] == sorted(len(q.ids) for q in asked)
    assert len({q.seed for q in asked}) == 6


def test_a_prompt_never_holds_the_reference_answer(child: Path) -> None:
    tokenizer = load_tokenizer(child)
    settings = GenerateSettings(effort="high", max_new_tokens=4)
    for question in questions(examples(6), rehearsal_renderer(), settings):
        text = tokenizer.decode(question.ids, skip_special_tokens=False)
        assert text.endswith("<|end|> <|start|> assistant")
        assert text.count("assistant") == 1
    with pytest.raises(StageFailure):
        question_of({"id": "x", "messages": [{"role": "assistant", "content": "16"}]})


def test_only_answers_that_ended_with_a_final_channel_become_data(child: Path) -> None:
    tokenizer = load_tokenizer(child)
    words = tokenizer.get_vocab()

    def answer(text: str, ended: bool = True) -> Answer:
        ids = [words[word] for word in text.split()]
        return Answer(ids=ids, log_probs=[0.0] * len(ids), ended=ended)

    listed = examples(4)
    asked = [Question(index=i, sample=0, ids=[1, 2, 3], seed=0) for i in (3, 1, 0, 2)]
    answers = [
        answer("<|channel|> final <|message|> 16 <|return|>"),
        answer("<|channel|> analysis <|message|> 16 <|end|> <|return|>"),
        answer("<|channel|> final <|message|> 16", ended=False),
        answer(
            "<|channel|> analysis <|message|> a 3 <|end|> <|start|> assistant <|channel|> final "
            "<|message|> 16 <|return|>"
        ),
    ]
    found = sort_answers(listed, asked, answers, "high", tokenizer)
    assert [row["id"] for row in found.examples] == [listed[2]["id"], listed[3]["id"]]
    assert [(row["id"], row["reason"]) for row in found.capped] == [
        (listed[0]["id"], "cap"),
        (listed[1]["id"], "no-final-channel"),
    ]
    last = found.documents[1]
    assert last.ids == [1, 2, 3, *answers[0].ids]
    assert last.mask == [0, 0, 0, *[1] * len(answers[0].ids)]
    assert last.ids[-1] == words["<|return|>"]


def _job(
    folder: Path, child: Path, prompts: Path, resume: Path | None = None, **changed: Any
) -> Path:
    settings: dict[str, Any] = {
        "effort": "medium",
        "max_new_tokens": 12,
        "batch_size": 2,
        "shard_prompts": 8,
        "seed": 7,
        "temperature": 1.0,
        "samples_per_prompt": 2,
        **changed,
    }
    inputs = {"model": child, "prompts": prompts}
    return write_job(folder, "generate", settings, inputs, ["data", "capped"], resume)


def test_a_run_killed_between_shards_ends_with_the_same_bytes(tmp_path: Path, child: Path) -> None:
    prompts = write_prompts(tmp_path / "prompts", 16)
    whole = _job(tmp_path / "whole", child, prompts)
    assert run_process(generate.run, whole) == 0
    killed = _job(tmp_path / "killed", child, prompts)
    snapshot = run_killed(generate.run, killed, after_snapshots=2)
    resumed = _job(tmp_path / "resumed", child, prompts, resume=snapshot)
    assert run_process(generate.run, resumed) == 0
    assert output_bytes(resumed) == output_bytes(whole)
    counts = json.loads((tmp_path / "whole/out/capped/capped.json").read_text())
    assert counts["asked"] == 32 == counts["kept"] + counts["capped"]


def test_sigterm_leaves_a_snapshot_and_says_preempted(tmp_path: Path, child: Path) -> None:
    prompts = write_prompts(tmp_path / "prompts", 16)
    job_file = _job(tmp_path / "job", child, prompts)
    run_killed(generate.run, job_file, after_snapshots=1, with_signal=signal.SIGTERM)
    lines = (tmp_path / "job/events.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["code"] == "PREEMPTED"


def test_an_unknown_setting_is_bad_input(tmp_path: Path, child: Path) -> None:
    prompts = write_prompts(tmp_path / "prompts", 2)
    job_file = write_job(
        tmp_path / "job",
        "generate",
        {"effort": "high", "max_new_tokens": 4, "beam": 3},
        {"model": child, "prompts": prompts},
        ["data", "capped"],
    )
    assert run_job(load_job(job_file), generate.run) == 1
    failed = json.loads((tmp_path / "job/events.jsonl").read_text().splitlines()[-1])
    assert failed["code"] == "BAD_INPUT"
    assert "beam" in failed["message"]


def test_two_ranks_write_what_one_writes(tmp_path: Path, child: Path) -> None:
    """32 answers in 4 shards of 8, and in 3 of 13: the last round has a rank without work."""
    prompts = write_prompts(tmp_path / "prompts", 16)
    for size in (8, 13):
        one = _job(tmp_path / f"one-{size}", child, prompts, shard_prompts=size)
        two = _job(tmp_path / f"two-{size}", child, prompts, shard_prompts=size)
        assert run_process(generate.run, one) == 0
        assert run_ranks(generate.run, two, 2) == [0, 0], (two.parent / "log").read_text()[-2000:]
        assert output_bytes(two) == output_bytes(one)


@pytest.fixture
def server(child: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RolloutServer]:
    with RolloutServer(load_model(child)) as started:
        monkeypatch.setenv("ROLLOUT_URL", started.url)
        yield started


SERVED = {"engine": "server", "url": {"secret": "ROLLOUT_URL"}, "concurrency": 4}


def test_answers_of_an_endpoint_are_those_of_the_model_behind_it(
    tmp_path: Path, child: Path, server: RolloutServer
) -> None:
    prompts = write_prompts(tmp_path / "prompts", 6)
    server.failures = 2  # busy at first: asked again
    outputs = []
    for name, rollout in (("here", {}), ("served", SERVED)):
        job_file = _job(
            tmp_path / name, child, prompts, temperature=0, samples_per_prompt=1, rollout=rollout
        )
        assert run_job(load_job(job_file), generate.run) == 0
        outputs.append(output_bytes(job_file))
    here, there = (json.loads(found.pop("capped/capped.json")) for found in outputs)
    served = there.pop("served")
    assert here == there
    assert outputs[0] == outputs[1]
    assert all(asked["model"] == "served" for asked in server.asked)
    assert [asked["max_tokens"] for asked in server.asked].count(12) == 6
    assert served["answers"] == 6 == len(server.asked) - 6  # asked first, to see who answers
    assert served["gap"] < 1e-5 < served["limit"]


def test_an_endpoint_that_gives_text_alone_and_a_secret_that_is_not_there_are_bad_input(
    tmp_path: Path, child: Path, server: RolloutServer
) -> None:
    prompts = write_prompts(tmp_path / "prompts", 2)
    server.token_ids = False
    absent = {**SERVED, "url": {"secret": "NO_SUCH_SECRET"}}
    for name, rollout, said in (("text", SERVED, "token ids"), ("absent", absent, "NO_SUCH")):
        job_file = _job(tmp_path / name, child, prompts, rollout=rollout)
        assert run_job(load_job(job_file), generate.run) == 1
        failed = json.loads((tmp_path / name / "events.jsonl").read_text().splitlines()[-1])
        assert failed["code"] == "BAD_INPUT"
        assert said in failed["message"]
