"""The teacher's answers to a data set's prompts: which are asked, in which order, and which are
good to learn from.

Prompts are read sorted by length (less padding), in shards of `shard_prompts`; each shard's answers
are one file, so that a resumed run goes on at the next shard.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fretsaw_engine.harmony.render import Document, Renderer, parse
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.generate.decode import Answer, Sampling, seed_of
from fretsaw_engine.methods.generate.rollout import RolloutSettings
from fretsaw_engine.training import distributed
from fretsaw_engine.training.settings import require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fretsaw_engine.job import Job
    from fretsaw_engine.methods.generate.rollout import Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateSettings:
    """What is asked of the teacher."""

    effort: Literal["low", "medium", "high"]
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    samples_per_prompt: int = 1
    batch_size: int = 64
    shard_prompts: int = 256
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    seed: int = 1

    def __post_init__(self) -> None:
        require(self.max_new_tokens > 0, "max_new_tokens must be above 0")
        require(self.temperature >= 0, "temperature must not be negative")
        require(0 < self.top_p <= 1, "top_p must be above 0, at most 1")
        require(self.samples_per_prompt > 0, "samples_per_prompt must be above 0")
        require(self.batch_size > 0, "batch_size must be above 0")
        require(self.shard_prompts > 0, "shard_prompts must be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One prompt to answer; `index` and `sample` say which line of the data and which answer to
    it.
    """

    index: int
    sample: int
    ids: list[int]
    seed: int


def questions(
    examples: list[dict[str, Any]], renderer: Renderer, settings: GenerateSettings
) -> list[Question]:
    """Every example once (a data set may list one for each effort), `samples_per_prompt` times,
    by length.
    """
    seen: set[str] = set()
    asked = []
    for index, example in enumerate(examples):
        if example["id"] in seen:
            continue
        seen.add(example["id"])
        ids = renderer.prompt(question_of(example), settings.effort)
        for sample in range(settings.samples_per_prompt):
            seed = seed_of(settings.seed, example["id"], settings.effort, sample)
            asked.append(Question(index=index, sample=sample, ids=ids, seed=seed))
    if not asked:
        raise StageFailure("BAD_INPUT", "the data set has no prompts")
    return sorted(asked, key=lambda question: (len(question.ids), question.index, question.sample))


def question_of(example: Mapping[str, Any]) -> list[Any]:
    """An example's messages without the reference answer at their end, if it has one."""
    messages = list(example["messages"])
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages:
        raise StageFailure("BAD_INPUT", f"example {example['id']} asks nothing")
    return messages


class Shards:
    """Answers by shard, in memory and in snapshots."""

    def __init__(self) -> None:
        self.answers: list[list[Answer]] = []
        self._from: Path | None = None

    def read(self, folder: Path, step: int) -> None:
        for number in range(step):
            try:
                lines = _shard(folder, number).read_text(encoding="utf-8").splitlines()
                self.answers.append([Answer(**json.loads(line)) for line in lines])
            except (OSError, ValueError, TypeError) as error:
                raise StageFailure(
                    "RESUME_DRIFT", f"snapshot {folder}: shard {number}: {error}"
                ) from error
        self._from = folder

    def write(self, folder: Path) -> None:
        """Earlier shards are linked from the snapshot before: a snapshot costs one shard."""
        for number, answers in enumerate(self.answers):
            target = _shard(folder, number)
            if self._from is not None and _shard(self._from, number).is_file():
                _link(_shard(self._from, number), target)
            else:
                lines = (json.dumps(asdict(answer)) for answer in answers)
                target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def written_to(self, folder: Path) -> None:
        self._from = folder


def write_answers(
    job: Job, rollout: Rollout, asked: list[Question], settings: GenerateSettings
) -> list[Answer]:
    """Answer all questions, a shard at a time, with snapshots between. Several ranks take a shard
    each; an answer does not depend on which rank writes it."""
    sampling = Sampling(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
    )
    size = settings.shard_prompts
    parts = [asked[first : first + size] for first in range(0, len(asked), size)]
    shards = Shards()
    if job.resume is not None:
        shards.read(job.resume.path, job.resume.step)
    first = len(shards.answers)
    began = time.monotonic()
    while len(shards.answers) < len(parts):
        mine = len(shards.answers) + distributed.rank()
        written = []
        if mine < len(parts):
            written.append(_shard_answers(rollout, parts[mine], settings.batch_size, sampling))
        shards.answers += distributed.from_all(written)
        done = len(shards.answers)
        seconds = max(time.monotonic() - began, 1e-9)
        prompts = min(done * size, len(asked))
        job.progress(prompts, len(asked), "prompts", (done - first) * size / seconds)
        new = sum(len(answer.ids) for shard in shards.answers[first:] for answer in shard)
        job.metrics(prompts, {"tokens_per_second": new / seconds})
        if done < len(parts):
            if distributed.rank() == 0:
                shards.written_to(job.snapshot(done, shards.write, {"prompts": prompts}))
            if distributed.any_rank(job.should_stop):
                raise StageFailure("PREEMPTED", f"asked to stop after {done} shards")
    return [answer for shard in shards.answers for answer in shard]


def _shard_answers(
    rollout: Rollout, asked: list[Question], batch: int, sampling: Sampling
) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        answers += rollout.answers([q.ids for q in part], [q.seed for q in part], sampling)
    return answers


@dataclass(kw_only=True)
class Sorted:
    """Answers apart: those to learn from (examples, documents) and those that are kept out."""

    examples: list[dict[str, Any]]
    documents: list[Document]
    capped: list[dict[str, Any]]


def sort_answers(
    examples: list[dict[str, Any]],
    asked: list[Question],
    answers: list[Answer],
    effort: str,
    tokenizer: Any,
) -> Sorted:
    """In the data set's order. An answer is good if it ended by itself and has a final channel."""
    result = Sorted(examples=[], documents=[], capped=[])
    pairs = sorted(zip(asked, answers, strict=True), key=lambda p: (p[0].index, p[0].sample))
    for question, answer in pairs:
        example = examples[question.index]
        parsed = parse(tokenizer.decode(answer.ids, skip_special_tokens=False))
        shown = {
            "id": example["id"],
            "task": example["task"],
            "effort": effort,
            "sample": question.sample,
        }
        if not answer.ended or parsed.final is None:
            reason = "no-final-channel" if answer.ended else "cap"
            result.capped.append({**shown, "reason": reason, "token_ids": answer.ids})
            continue
        kept = {
            "messages": question_of(example),
            "answer": example["answer"],
            "scorer": example["scorer"],
        }
        result.examples.append({**shown, **kept, "completion": answer.ids})
        mask = [0] * len(question.ids) + [1] * len(answer.ids)
        result.documents.append(Document(ids=question.ids + answer.ids, mask=mask))
    return result


def _shard(folder: Path, number: int) -> Path:
    return folder / f"answers.{number:05d}.jsonl"


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copyfile(source, target)
