"""A gpt-oss with random weights, small enough for tests: all files of a checkpoint, half a megabyte
or less.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from fretsaw_engine.harmony import tokens
from fretsaw_engine.moe import gpt_oss
from fretsaw_engine.moe.checkpoint import build_model, checkpoint_tensors, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def write_generation_config(folder: Path) -> None:
    """generation_config.json with the rehearsal tokenizer's ids: stop at `<|return|>` and
    `<|call|>`.
    """
    words = tokens.vocabulary()
    document = {
        "bos_token_id": words[tokens.START_OF_TEXT],
        "eos_token_id": [words[tokens.RETURN], words[tokens.CALL]],
        "pad_token_id": words[tokens.PAD],
        "do_sample": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    (folder / "generation_config.json").write_text(text, encoding="utf-8")


def write_nano_checkpoint(
    folder: Path,
    seed: int,
    *,
    layers: int = 4,
    hidden: int = 32,
    intermediate: int = 32,
    experts: int = 8,
    experts_per_token: int = 2,
    heads: int = 2,
    kv_heads: int = 1,
    head_dim: int = 16,
    sliding_window: int = 4,
) -> None:
    """Write a whole checkpoint with weights that depend on `seed` alone."""
    config = gpt_oss.config_document(
        vocab_size=len(tokens.vocabulary()),
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        experts=experts,
        experts_per_token=experts_per_token,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        sliding_window=sliding_window,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("norm.weight"):
                    parameter.fill_(1.0)
                else:
                    parameter.normal_(0.0, 0.5 if "embed" in name else 0.15)
    tokens.write_tokenizer(folder)
    write_generation_config(folder)
    write_checkpoint(folder, config, checkpoint_tensors(model), assets_from=folder)
