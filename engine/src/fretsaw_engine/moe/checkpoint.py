"""Checkpoints: reading them strictly and writing them, here and nowhere else.

transformers' `save_pretrained` of a model that was loaded from MXFP4 writes bfloat16 under the
names of the 4-bit blocks, and loading that starts the experts at random with only a warning. So no
other module writes model weights: expert blocks and scales come byte for byte from the parent's
files (or from our own encoder, for a model that was trained here), everything else in bfloat16 from
the model. A reader refuses a folder that has one tensor too many or too few.
"""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fretsaw_engine.job import StageFailure
from fretsaw_engine.moe import gpt_oss, mxfp4

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ASSETS = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
)
"""Files beside weights and config that belong to a checkpoint; copied where the source has them."""

TURN_ENDS = ("<|return|>", "<|call|>")
"""Tokens that end a turn in the Harmony format."""

DEFAULT_SHARD_BYTES = 5 * 2**30


class Tensors(AbstractContextManager["Tensors"]):
    """A checkpoint's tensors, read one at a time from however many files they lie in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}
        self._where: dict[str, str] = {}
        index = folder / INDEX
        if index.is_file():
            self._where = dict(_read_json(index)["weight_map"])
        for file in sorted(set(self._where.values()) or {SINGLE}):
            self._open(file)
        listed = {name for file in self._files.values() for name in file.keys()}  # noqa: SIM118
        if self._where and listed != set(self._where):
            raise StageFailure(
                "BAD_INPUT", f"{index} and its files disagree on {_few(listed ^ set(self._where))}"
            )

    def names(self) -> list[str]:
        return sorted(self._where)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def get(self, name: str) -> torch.Tensor:
        """The whole tensor, in the dtype of the file."""
        return self._files[self._where[name]].get_tensor(name)

    def rows(self, name: str, indices: list[int]) -> torch.Tensor:
        """Some rows of the first axis (experts), in this order; the rest is not read."""
        view = self._files[self._where[name]].get_slice(name)
        return torch.cat([view[row : row + 1] for row in indices])

    def slice(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` of the first axis; the rest is not read."""
        return self._files[self._where[name]].get_slice(name)[start:stop]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[self._where[name]].get_slice(name).get_shape())

    def close(self) -> None:
        self._stack.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, file: str) -> None:
        path = self.folder / file
        if not path.is_file():
            raise StageFailure("BAD_INPUT", f"checkpoint {self.folder}: no {file}")
        try:
            handle = self._stack.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError, ValueError) as error:
            raise StageFailure(
                "BAD_INPUT", f"{path}: not a whole safetensors file: {error}"
            ) from error
        self._files[file] = handle
        for name in handle.keys():  # noqa: SIM118
            self._where.setdefault(name, file)


def open_tensors(folder: Path) -> Tensors:
    """A lazy reader of a possibly sharded checkpoint; use it as a context manager."""
    return Tensors(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands."""
    return _read_json(folder / CONFIG)


def read_generation_config(folder: Path) -> dict[str, Any]:
    return _read_json(folder / "generation_config.json")


def stop_ids(folder: Path) -> list[int]:
    """Tokens that end an answer: `eos_token_id` of generation_config.json as a list."""
    found = read_generation_config(folder)["eos_token_id"]
    return found if isinstance(found, list) else [found]


def stop_at_turn_ends(folder: Path) -> None:
    """`eos_token_id` of generation_config.json lists `<|return|>` and `<|call|>`: a server that
    does not stop at both runs on past an answer or a tool call. Ids that are there stay."""
    path = folder / "generation_config.json"
    ids = {token["content"]: token["id"] for token in _added_tokens(folder)}
    wanted = [ids[name] for name in TURN_ENDS if name in ids]
    document = read_generation_config(folder) if path.is_file() else {}
    found = document.get("eos_token_id", [])
    stops = found if isinstance(found, list) else [found]
    if missing := [token for token in wanted if token not in stops]:
        _write_json(path, {**document, "eos_token_id": [*stops, *missing]})


def _added_tokens(folder: Path) -> list[dict[str, Any]]:
    path = folder / "tokenizer.json"
    return _read_json(path).get("added_tokens", []) if path.is_file() else []


def load_model(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    *,
    experts_implementation: str = "grouped_mm",
) -> Any:
    """A causal language model, in eval mode, experts dequantised from MXFP4 to `dtype`.

    `gpt_oss` gives transformers' GptOssForCausalLM, `gpt_oss_puzzle` (and `gpt_oss`
    with an FP8 cache) the class in moe/puzzle.py.
    """
    config = read_config(folder)
    model = build_model(config, experts_implementation=experts_implementation)
    with open_tensors(folder) as tensors:
        load_tensors(model, config, tensors)
    if (folder / "generation_config.json").is_file():
        from transformers import GenerationConfig

        model.generation_config = GenerationConfig(**read_generation_config(folder))
    return model.to(dtype).eval()


def build_model(config: Mapping[str, Any], *, experts_implementation: str = "grouped_mm") -> Any:
    """An empty float32 model for a config.json; its weights are to be loaded or initialised."""
    kind = config.get("model_type")
    has_fp8_cache = has_kv_scales(config)
    if kind == "gpt_oss" and not has_fp8_cache:
        from transformers import GptOssConfig, GptOssForCausalLM

        plain = {k: v for k, v in config.items() if k not in ("quantization_config", "dtype")}
        return GptOssForCausalLM._from_config(
            GptOssConfig(**plain),
            attn_implementation="eager",
            experts_implementation=experts_implementation,
            dtype=torch.float32,
        )
    if kind in ("gpt_oss", "gpt_oss_puzzle"):
        from fretsaw_engine.moe import puzzle

        return puzzle.build_model(config, experts_implementation=experts_implementation)
    raise StageFailure("BAD_INPUT", f"config.json: unknown model_type {kind!r}")


def load_tensors(model: Any, config: Mapping[str, Any], tensors: Tensors) -> None:
    """Fill a model from a checkpoint; every name and every shape must agree."""
    expected = check_tensors(config, tensors)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in expected:
            if name.endswith("_scales"):
                continue
            if name.endswith("_blocks"):
                stem = name.removesuffix("_blocks")
                value = mxfp4.decode(tensors.get(name), tensors.get(f"{stem}_scales"))
                parameters.pop(stem).copy_(value)
            else:
                parameters.pop(name).copy_(tensors.get(name))
    if parameters:
        raise StageFailure("ENGINE_BUG", f"no tensor fills {_few(set(parameters))}")
    if has_kv_scales(config):
        from fretsaw_engine.moe import puzzle

        puzzle.load_kv_scales(model, tensors.get, tensors)


def check_tensors(config: Mapping[str, Any], tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """Name -> shape that config.json asks for; BAD_INPUT unless the files hold just that."""
    expected = gpt_oss.tensor_shapes(config)
    has_fp8_cache = has_kv_scales(config)
    found = {name for name in tensors.names() if not (has_fp8_cache and gpt_oss.is_kv_scale(name))}
    if wrong := found ^ set(expected):
        raise StageFailure(
            "BAD_INPUT",
            f"checkpoint {tensors.folder}: missing {_few(set(expected) - found)}, "
            f"unexpected {_few(found - set(expected))}",
            {"names": sorted(wrong)[:20]},
        )
    for name, shape in expected.items():
        if tensors.shape(name) != shape:
            raise StageFailure(
                "BAD_INPUT", f"{name}: shape {tensors.shape(name)}, config.json says {shape}"
            )
    return expected


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer with its chat template (transformers' PreTrainedTokenizerFast)."""
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise StageFailure("BAD_INPUT", f"checkpoint {folder}: no tokenizer.json")
    return PreTrainedTokenizerFast.from_pretrained(folder)


def checkpoint_tensors(
    model: Any, frozen_from: Tensors | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """What a checkpoint of `model` holds, by name.

    With `frozen_from`, routers and experts are that checkpoint's own bytes. Without it the experts
    are encoded to MXFP4 here and the router is written like the rest.
    """
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        is_matrix = name.endswith(tuple(f".mlp.experts.{p}" for p in gpt_oss.EXPERT_PROJECTIONS))
        if frozen_from is not None and gpt_oss.is_expert_or_router(name):
            parts = [f"{name}_blocks", f"{name}_scales"] if is_matrix else [name]
            yield from ((part, frozen_from.get(part)) for part in parts)
        elif is_matrix:
            blocks, scales = mxfp4.encode(value)
            yield f"{name}_blocks", blocks
            yield f"{name}_scales", scales
        else:
            yield name, value.to(torch.bfloat16).contiguous()


def write_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Iterable[tuple[str, torch.Tensor]],
    assets_from: Path,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> None:
    """Write config.json, weights in files of at most `shard_bytes`, and the other files of
    `assets_from`.

    Nothing of the tool's version is written, so that equal checkpoints have equal digests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, int] = {}
    total = 0
    files = 0
    pending: dict[str, torch.Tensor] = {}
    pending_bytes = 0

    def flush() -> None:
        nonlocal files, pending_bytes
        save_file(pending, folder / f"part-{files:05d}.safetensors", metadata={"format": "pt"})
        files += 1
        pending.clear()
        pending_bytes = 0

    for name, tensor in tensors:
        if name in where:
            raise StageFailure("ENGINE_BUG", f"{name} is written twice")
        size = tensor.numel() * tensor.element_size()
        if pending and pending_bytes + size > shard_bytes:
            flush()
        where[name] = files
        pending[name] = tensor.contiguous()
        pending_bytes += size
        total += size
    flush()
    extras = {name for name in where if gpt_oss.is_kv_scale(name)}
    if wrong := (set(where) - extras) ^ set(gpt_oss.tensor_shapes(config)):
        raise StageFailure("ENGINE_BUG", f"a checkpoint with wrong tensors: {_few(wrong)}")

    if files == 1:
        (folder / "part-00000.safetensors").rename(folder / SINGLE)
    else:
        names = [f"model-{i + 1:05d}-of-{files:05d}.safetensors" for i in range(files)]
        for i, name in enumerate(names):
            (folder / f"part-{i:05d}.safetensors").rename(folder / name)
        weight_map = {name: names[file] for name, file in sorted(where.items())}
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    _write_json(folder / CONFIG, {k: v for k, v in config.items() if k != "transformers_version"})
    for asset in ASSETS:
        if (assets_from / asset).is_file() and assets_from.resolve() != folder.resolve():
            shutil.copyfile(assets_from / asset, folder / asset)


def has_kv_scales(config: Mapping[str, Any]) -> bool:
    """Whether config.json announces an FP8 KV cache."""
    return bool((config.get("quantization_config") or {}).get("kv_cache_scheme"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageFailure("BAD_INPUT", f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise StageFailure("BAD_INPUT", f"{path}: expected a JSON object")
    return document


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _few(names: Iterable[str]) -> str:
    ordered = sorted(names)
    shown = ", ".join(ordered[:3])
    return f"[{shown}{f', and {len(ordered) - 3} more' if len(ordered) > 3 else ''}]"
