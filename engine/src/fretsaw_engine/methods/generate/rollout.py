"""Who writes answers: one setting for `generate` and for RL.

- `transformers`: this process, with methods/generate/decode. Runs anywhere.
- `vllm`: vLLM in this process, on the GPUs of the job. In RL it lies beside the training.
- `server`: an endpoint that speaks OpenAI's completions API with token ids (vLLM's and `fretsaw
  serve` do). It is first shown to serve the stage's model (methods/generate/served.py). In RL it is
  `vllm serve` with a weight-transfer engine: TRL sends it the training's weights after every step.
  Its base URL is a secret's value: where a server stands is no part of what was asked for.

Every answer says its token ids and the log probabilities at which they were drawn.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.generate.decode import Answer, Sampling, decode
from fretsaw_engine.training.settings import require

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ATTEMPTS = 5
"""Tries at one request; then the stage fails and may be tried again from its last shard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutSettings:
    """`url` names the secret (an environment variable of the worker) that holds the base URL.
    `tolerance`: how far, in nats a token, a server may be from the checkpoint where its rounding is
    not to be judged by bfloat16's (methods/generate/served.py)."""

    engine: Literal["transformers", "vllm", "server"] = "transformers"
    url: dict[str, str] | None = None
    concurrency: int = 64
    tolerance: float | None = None

    def __post_init__(self) -> None:
        require(self.engine != "server" or self.url is not None, "rollout.url is missing")
        require(self.concurrency > 0, "rollout.concurrency must be above 0")
        require(self.tolerance is None or self.tolerance > 0, "rollout.tolerance must be above 0")

    def base_url(self) -> str:
        name = (self.url or {}).get("secret", "")
        url = os.environ.get(name)
        if not url:
            raise StageFailure("BAD_INPUT", f"rollout.url: this worker has no secret {name!r}")
        return url.rstrip("/")

    def trl(self, stop: Sequence[int]) -> dict[str, Any]:
        """Arguments of GRPOConfig."""
        if self.engine == "transformers":
            return {}
        more = {"use_vllm": True, "generation_kwargs": {"stop_token_ids": list(stop)}}
        if self.engine == "vllm":
            return {**more, "vllm_mode": "colocate"}
        return {**more, "vllm_mode": "server", "vllm_server_base_url": self.base_url()}


class Rollout(Protocol):
    """Answers prompts, one each, in their order."""

    def answers(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Answer]: ...


class TransformersRollout:
    """All prompts in one batch of a model in this process."""

    def __init__(self, model: Any, stop: Sequence[int], pad_id: int) -> None:
        self._model, self._stop, self._pad_id = model, stop, pad_id

    def answers(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Answer]:
        return decode(self._model, prompts, seeds, sampling, self._stop, self._pad_id)


class VllmRollout:
    """vLLM's offline engine, the model split over all GPUs of the job."""

    def __init__(self, folder: Path, stop: Sequence[int], gpus: int) -> None:
        try:
            import vllm  # type: ignore[import-not-found]
        except ImportError as error:
            raise StageFailure("BAD_INPUT", "rollout.engine vllm: vllm is not installed") from error
        self._parameters = vllm.SamplingParams
        self._stop = list(stop)
        self._model = vllm.LLM(model=str(folder), tensor_parallel_size=max(gpus, 1))

    def answers(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Answer]:
        parameters = [
            self._parameters(
                max_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=seed % 2**31,
                stop_token_ids=self._stop,
                logprobs=0,
                skip_special_tokens=False,
            )
            for seed in seeds
        ]
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        found = self._model.generate(asked, parameters, use_tqdm=False)
        return [self._answer(request.outputs[0]) for request in found]

    def _answer(self, output: Any) -> Answer:
        ids = list(output.token_ids)
        log_probs = [step[token].logprob for step, token in zip(output.logprobs, ids, strict=True)]
        return Answer(ids=ids, log_probs=log_probs, ended=bool(ids) and ids[-1] in self._stop)


class ServerRollout:
    """An endpoint, with many requests in flight: it makes its own batches."""

    def __init__(self, url: str, stop: Sequence[int], concurrency: int) -> None:
        self._url = url
        self._stop = list(stop)
        self._concurrency = concurrency
        card = self._get("/v1/models")["data"][0]
        self._model = card["id"]
        self.declared_digest: str | None = card.get("fretsaw", {}).get("digest")
        """What it says that it has loaded; `fretsaw serve` does."""

    def answers(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Answer]:
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(lambda p, s: self._ask(p, s, sampling), prompts, seeds))

    def _ask(self, prompt: Sequence[int], seed: int, sampling: Sampling) -> Answer:
        found = self._post(
            "/v1/completions",
            {
                "model": self._model,
                "prompt": list(prompt),
                "max_tokens": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": seed % 2**31,
                "stop_token_ids": self._stop,
                "logprobs": 1,
                "return_token_ids": True,
                "skip_special_tokens": False,
            },
        )
        try:
            choice = found["choices"][0]
            ids = [int(token) for token in choice["token_ids"]]
            log_probs = [float(value) for value in choice["logprobs"]["token_logprobs"]]
        except (KeyError, IndexError, TypeError) as error:
            raise StageFailure(
                "BAD_INPUT",
                f"{self._url} gives no token ids with log probabilities ({error!r}): an endpoint "
                "that returns text alone would have it tokenised anew",
            ) from error
        return Answer(ids=ids, log_probs=log_probs, ended=bool(ids) and ids[-1] in self._stop)

    def _get(self, path: str) -> dict[str, Any]:
        return self._request(urllib.request.Request(self._url + path))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        data = json.dumps(body).encode()
        return self._request(urllib.request.Request(self._url + path, data, headers))

    def _request(self, request: urllib.request.Request) -> dict[str, Any]:
        last: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(request) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    text = error.read().decode(errors="replace")[:500]
                    raise StageFailure(
                        "BAD_INPUT", f"{request.full_url}: {error.code}: {text}"
                    ) from error
                last = error
            except (OSError, ValueError) as error:
                last = error
        raise StageFailure("TIMEOUT", f"{request.full_url}: {last}") from last
