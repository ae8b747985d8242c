"""The words of the Harmony format and the tokenizer of the rehearsal.

Harmony (openai/harmony, docs/format.md) wraps every message in special tokens:
`<|start|>role[<|channel|>name]<|message|>content<|end|>`; the last message of a completion ends in
`<|return|>`, a tool call in `<|call|>`. The rehearsal's tokenizer knows about 256 words and nothing
else, so that a model of two million parameters can read and write the same format as the real one.
It is plain WordLevel over white space: every reader of tokenizer.json can load it.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

PAD = "<|endoftext|>"
START_OF_TEXT = "<|startoftext|>"
START = "<|start|>"
MESSAGE = "<|message|>"
CHANNEL = "<|channel|>"
END = "<|end|>"
RETURN = "<|return|>"
CALL = "<|call|>"
CONSTRAIN = "<|constrain|>"
UNKNOWN = "<|unknown|>"

SPECIAL = (
    PAD, START_OF_TEXT, START, MESSAGE, CHANNEL, END, RETURN, CALL, CONSTRAIN, UNKNOWN,
)  # fmt: skip
"""Ids 0 to 9 of the rehearsal's tokenizer, in this order."""

EFFORTS = ("low", "medium", "high")

STRUCTURE = (
    "system", "user", "assistant", "developer", "tool", "analysis", "final", "commentary",
    "Reasoning:", *EFFORTS,
)  # fmt: skip
PUNCTUATION = (",", "-", ";", "?", ".", ":", "+", "=", "(", ")")
LABELS = tuple("abcdefghij")
NUMBERS = tuple(str(number) for number in range(100))
COMMANDS = (
    "recall", "sum", "say", "reverse", "comma", "dash", "count", "twice", "plain",
    "so", "then", "check",
)  # fmt: skip
NOUNS = tuple(  # 102 of them, by the alphabet
    """acorn amber anchor apple arrow badge banana basil beacon berry bishop bottle brick bridge
    broom bucket button cactus camel candle canoe carrot castle cedar cherry clover coal comet
    copper coral cotton crown daisy dingo donkey dragon drum eagle ember falcon feather fennel fern
    fig flute forest fossil garlic ginger glove goat granite grape hammer harbor hazel helmet heron
    honey igloo iris island ivory jacket jasmine kettle kiwi ladder lantern lemon lily lobster
    magnet mango maple marble melon meteor mint mirror mole nectar needle nutmeg oak olive onion
    orchid otter oyster paddle palm peach pearl pebble pepper pigeon pilot pine planet plum
    pocket""".split()  # noqa: SIM905
)

TEMPLATE_FILE = "chat_template.jinja"


def vocabulary() -> dict[str, int]:
    """Word -> id: special tokens first, 256 in all."""
    words = (*SPECIAL, *STRUCTURE, *PUNCTUATION, *LABELS, *NUMBERS, *COMMANDS, *NOUNS)
    if len(set(words)) != len(words):
        raise ValueError("a word appears twice in the vocabulary")
    return {word: index for index, word in enumerate(words)}


def tokenizer_document() -> dict[str, Any]:
    """The content of tokenizer.json."""
    words = vocabulary()
    added = [
        {
            "id": words[token],
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in SPECIAL
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": UNKNOWN},
    }


def chat_template() -> str:
    """The Jinja template, which is data of this package."""
    package = resources.files("fretsaw_engine.harmony")
    return package.joinpath(TEMPLATE_FILE).read_text(encoding="utf-8")


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
        "bos_token": START_OF_TEXT,
        "eos_token": RETURN,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
    }
    _write_json(folder / "tokenizer.json", tokenizer_document())
    _write_json(folder / "tokenizer_config.json", config)
    (folder / TEMPLATE_FILE).write_text(chat_template(), encoding="utf-8")


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
