"""The committed parent is what the rehearsal needs: effort pays, and long context matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fretsaw_engine.harmony import tokens
from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.methods.greedy import evaluate, summary
from fretsaw_engine.moe import gpt_oss
from fretsaw_engine.moe.checkpoint import build_model, load_tensors, open_tensors, read_config
from fretsaw_engine.rehearsal import tasks

PARENT = Path(__file__).parents[3] / "specs/rehearsal/parent"
EXAMPLES = 24


def _scores(config: dict[str, Any], efforts: tuple[str, ...]) -> dict[str, dict[str, float]]:
    model = build_model(config)
    with open_tensors(PARENT) as tensors:
        load_tensors(model, config, tensors)
    settings = {task: tasks.read_settings(task, {}) for task in tasks.TASKS}
    return evaluate(
        model.eval(),
        rehearsal_renderer(),
        settings,
        examples=EXAMPLES,
        seed=4,
        efforts=efforts,
        most_new=48,
    )


def test_the_parent_meets_its_thresholds() -> None:
    config = read_config(PARENT)
    cells = _scores(config, ("low", "high"))
    figures = summary(cells)
    assert figures["accuracy/high"] >= 0.85
    assert figures["tokens/high"] >= 3 * figures["tokens/low"]
    gain = cells["arithmetic/high"]["accuracy"] - cells["arithmetic/low"]["accuracy"]
    assert gain >= 0.2
    short = {**config, "layer_types": [gpt_oss.SLIDING] * config["num_hidden_layers"]}
    windowed = _scores(short, ("high",))
    lost = cells["recall/high"]["accuracy"] - windowed["recall/high"]["accuracy"]
    assert lost >= 0.3


def test_the_parent_is_small_and_has_the_tokenizer_of_the_code(tmp_path: Path) -> None:
    assert sum(file.stat().st_size for file in PARENT.iterdir()) < 8_000_000
    tokens.write_tokenizer(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", tokens.TEMPLATE_FILE):
        assert (PARENT / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("key", ["transformers_version", "_name_or_path"])
def test_the_parent_says_nothing_of_the_tools(key: str) -> None:
    assert key not in read_config(PARENT)
