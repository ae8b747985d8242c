"""transformers' `generate`, timed: greedy, KV cache, left padding, `grouped_mm` experts.

Reads {checkpoint, threads, tokens, prompts} and prints {seconds, token_ids}. The time is that of one call after
a warm-up of eight tokens; loading is outside it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from fretsaw_engine.moe.checkpoint import load_model


def main(path: Path) -> None:
    asked = json.loads(path.read_text())
    torch.set_num_threads(asked["threads"])
    model = load_model(Path(asked["checkpoint"]), experts_implementation="grouped_mm")
    # The end of an answer is ignored on both sides: outputs of one length.
    model.generation_config.eos_token_id = None
    prompts = asked["prompts"]
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1

    def generate(tokens: int) -> torch.Tensor:
        return model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            pad_token_id=0,
        )

    with torch.no_grad():
        generate(8)
        started = time.perf_counter()
        output = generate(asked["tokens"])
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "token_ids": output[:, longest:].tolist()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
