"""What evaluation/ (TypeScript) must agree on with this side, as files that both sides' tests read.

`python engine/tests/unit/test_evaluation_golden.py` writes them again. The fixture is an
exported puzzle model with random weights, small enough to be committed; its greedy answers are
those of transformers' generate.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from fretsaw_engine.harmony import tokens
from fretsaw_engine.harmony.render import parse
from fretsaw_engine.methods.export_onnx.check import CheckSettings
from fretsaw_engine.methods.export_onnx.graph import build_graph
from fretsaw_engine.methods.export_onnx.model import read_export_model
from fretsaw_engine.methods.greedy import greedy
from fretsaw_engine.moe import puzzle
from fretsaw_engine.moe.checkpoint import build_model, load_tokenizer
from fretsaw_engine.moe.gpt_oss import config_document
from fretsaw_engine.rehearsal import tasks
from fretsaw_engine.rehearsal.nano import write_generation_config
from fretsaw_engine.rehearsal.scorers import score
from fretsaw_engine.stages import export_onnx

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]
CONTRACT = ROOT / "engine" / "contract"
FIXTURE = ROOT / "test" / "fixtures" / "nano-onnx"
BLOCKS = [(4, 4), (3, None), (2, 12)]
MOST_NEW = 40

SCORED = [
    ("exact", "oak - fig", "oak - fig"),
    ("exact", "oak - fig", "  oak\t-\nfig "),
    ("exact", "oak - fig", "oak fig"),
    ("exact", "oak - fig", "oak - fig - fig"),
    ("exact", "oak", ""),
    ("exact", "oak", None),
    ("exact", "oak", "Oak"),
    ("exact", "oak fig", "oak\u00a0fig"),
    ("exact", "oak fig", "oak\ufefffig"),
    ("number", "16", "16"),
    ("number", "16", "fig 16"),
    ("number", "16", "016"),
    ("number", "16", "16 ."),
    ("number", "16", "16.0"),
    ("number", "16", "-16"),
    ("number", "16", "17"),
    ("number", "0", "0"),
    ("number", "16", "16 17"),
    ("number", "16", ""),
    ("number", "16", "   "),
    ("number", "16", None),
]

COMPLETIONS = [
    "<|channel|>final<|message|>16<|return|>",
    "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>3<|return|>",
    "<|channel|>analysis<|message|>16<|return|>",
    "<|channel|>analysis<|message|>16 16 16",
    "<|channel|>final<|message|>16",
    "<|channel|>final<|message|><|return|>",
    "<|channel|>commentary<|message|>oak<|call|>",
    "16 16<|return|>",
    "<|return|>",
    "<|channel|>final<|message|>16<|return|>17<|channel|>final<|message|>18<|return|>",
    "<|channel|>analysis<|message|>16<|start|>assistant<|channel|>final<|message|>17<|return|>",
    "<|channel|><|channel|>final<|message|>16<|return|>",
    "<|message|>16<|return|>",
    "<|channel|>final<|message|>16<|constrain|><|return|>",
    "<|channel|>final<|constrain|>16<|message|>16<|return|>",
    "<|channel|>final<|message|>16<|message|>17<|return|>",
]


def examples(count: int) -> list[tasks.Example]:
    return [
        example
        for task, settings in tasks.TASKS.items()
        for example in itertools.islice(tasks.stream(task, settings(), "heldout", 1), count)
    ]


def scorers_golden() -> list[dict[str, Any]]:
    return [
        {"scorer": s, "answer": a, "final": f, "correct": bool(score(s, a, f))}
        for s, a, f in SCORED
    ]


def harmony_golden(folder: Path) -> dict[str, Any]:
    """Prompts as transformers renders and encodes them, completions as `parse` takes them apart."""
    tokenizer = load_tokenizer(folder)
    prompts = []
    for example, effort in itertools.product(examples(3), tokens.EFFORTS):
        options = {"reasoning_effort": effort, "add_generation_prompt": True}
        text = tokenizer.apply_chat_template(example.messages, tokenize=False, **options)
        ids = tokenizer.encode(text, add_special_tokens=False)
        prompts.append(
            {"messages": example.messages, "effort": effort, "text": text, "token_ids": ids}
        )
    turns = [
        {"role": "user", "content": "sum a 1 b 2 ?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "say plain oak <|unknown|> nowhere ?"},
    ]
    text = tokenizer.apply_chat_template(
        turns, tokenize=False, reasoning_effort="high", add_generation_prompt=True
    )
    ids = tokenizer.encode(text, add_special_tokens=False)
    prompts.append({"messages": turns, "effort": "high", "text": text, "token_ids": ids})
    return {"prompts": prompts, "completions": [completion(tokenizer, t) for t in COMPLETIONS]}


def completion(tokenizer: Any, text: str) -> dict[str, Any]:
    """A final channel counts only when `<|return|>` ended the completion."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    found = parse(tokenizer.decode(ids))
    return {
        "token_ids": ids,
        "analysis": found.analysis,
        "final": found.final if found.ended else None,
    }


def fixture_model() -> tuple[Any, dict[str, Any]]:
    document = config_document(
        vocab_size=len(tokens.vocabulary()),
        layers=len(BLOCKS),
        hidden=32,
        intermediate=32,
        experts=4,
        experts_per_token=2,
        heads=4,
        kv_heads=2,
        head_dim=8,
        sliding_window=4,
    ) | {
        "model_type": "gpt_oss_puzzle",
        "architectures": ["GptOssPuzzleForCausalLM"],
        "block_configs": [{"num_local_experts": e, "sliding_window": w} for e, w in BLOCKS],
        "layer_types": puzzle.layer_types([window for _, window in BLOCKS]),
    }
    model = build_model(document)
    rng = np.random.default_rng(20260101)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            else:
                spread = 0.6 if "embed" in name else 0.25
                values = rng.normal(0.0, spread, tuple(parameter.shape)).astype(np.float32)
                parameter.copy_(torch.from_numpy(values).to(torch.bfloat16))
        for token in (tokens.RETURN, tokens.CHANNEL, tokens.MESSAGE, "final"):
            model.lm_head.weight[tokens.vocabulary()[token]] *= 1.35  # so that some answers end
    return model.eval(), document


def answers_golden(model: Any, folder: Path) -> list[dict[str, Any]]:
    """Greedy answers by transformers' generate."""
    tokenizer = load_tokenizer(folder)
    words = tokens.vocabulary()
    asked = list(itertools.product(examples(4), ("low", "high")))
    prompts = [
        tokenizer.encode(
            tokenizer.apply_chat_template(
                example.messages,
                tokenize=False,
                reasoning_effort=effort,
                add_generation_prompt=True,
            ),
            add_special_tokens=False,
        )
        for example, effort in asked
    ]
    stop = [words[tokens.RETURN], words[tokens.CALL]]
    answers = greedy(model, prompts, most_new=MOST_NEW, stop=stop, pad_id=0)
    return [
        {"id": example.id, "messages": example.messages, "effort": effort, "token_ids": answer}
        for (example, effort), answer in zip(asked, answers, strict=True)
    ]


def write_fixture(folder: Path) -> Any:
    """The folder that export-onnx would leave for the fixture's model."""
    model, document = fixture_model()
    exported = read_export_model(model, "float")
    folder.mkdir(parents=True, exist_ok=True)
    export_onnx.write_onnx(folder, build_graph(exported))
    settings = export_onnx.Settings(kv="float", check=CheckSettings())
    export_onnx._write_description(folder, exported, settings)
    tokens.write_tokenizer(folder)
    write_generation_config(folder)
    (folder / "config.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    return model


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, document: Any) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=True) + "\n"
    path.write_text(text, encoding="utf-8")


def test_scorers_are_those_of_the_golden_file():
    assert read(CONTRACT / "scorers.golden.json") == scorers_golden()


def test_prompts_and_completions_are_those_of_the_golden_file(tmp_path):
    tokens.write_tokenizer(tmp_path)
    assert read(CONTRACT / "harmony.golden.json") == harmony_golden(tmp_path)


def test_the_committed_export_is_what_is_exported_today(tmp_path):
    model = write_fixture(tmp_path)
    names = sorted(path.name for path in FIXTURE.iterdir())
    assert names == sorted(["answers.golden.json", *(path.name for path in tmp_path.iterdir())])
    for name in set(names) - {"model.onnx", "answers.golden.json"}:
        assert (FIXTURE / name).read_bytes() == (tmp_path / name).read_bytes(), name
    committed, fresh = (onnx.load(folder / "model.onnx").graph for folder in (FIXTURE, tmp_path))
    assert list(committed.node) == list(fresh.node)
    for a, b in zip(committed.initializer, fresh.initializer, strict=True):
        first, second = onnx.numpy_helper.to_array(a), onnx.numpy_helper.to_array(b)
        assert a.name == b.name
        assert np.allclose(first, second, rtol=1e-6, atol=0), a.name
    answers = read(FIXTURE / "answers.golden.json")
    assert answers == answers_golden(model, tmp_path)
    capped = sum(len(answer["token_ids"]) == MOST_NEW for answer in answers)
    assert 0 < capped < len(answers), "both ways to end are to be tried"


if __name__ == "__main__":
    shutil.rmtree(FIXTURE, ignore_errors=True)
    fixture = write_fixture(FIXTURE)
    write(FIXTURE / "answers.golden.json", answers_golden(fixture, FIXTURE))
    write(CONTRACT / "scorers.golden.json", scorers_golden())
    with tempfile.TemporaryDirectory() as temporary:
        tokens.write_tokenizer(Path(temporary))
        write(CONTRACT / "harmony.golden.json", harmony_golden(Path(temporary)))
    sys.exit(0)
