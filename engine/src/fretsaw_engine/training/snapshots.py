"""Resumable training state as plain files: safetensors and JSON, nothing pickled.

    state.json                              step, data position, rate, probe, scheduler, layout
    ... trainer.json                            what Hugging Face's TrainerState holds
    trainable.<rank>-of-<ranks>.safetensors this rank's part of what trains
    optimizer.<rank>-of-<ranks>.safetensors `<parameter>:exp_avg`, `:exp_avg_sq`, `:step`
    random.<rank>-of-<ranks>.safetensors    generators

Frozen tensors are not in it: they are the input's. Tensors are sharded along their first axis;
every file's header says where its rows begin and how many there are in all, so a snapshot of two
ranks can be read by one and the other way round. Job.snapshot renames the folder into place when
all is written.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fretsaw_engine.job import StageFailure
from fretsaw_engine.training import distributed
from fretsaw_engine.training.determinism import capture_random_state, restore_random_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

SCHEMA = "fretsaw/training-snapshot/v1"
STATE = "state.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """What a resumed run is compared with."""

    step: int
    consumed: int
    """Training tokens (RL: answers) consumed: the data position."""
    learning_rate: float
    """Rate of the next step."""
    optimizer_norm: float
    """L2 norm over all moments, float64: a zeroed or swapped optimiser shows."""
    probe: float
    """Loss on a fixed batch."""
    data: str
    """Digest of the order in which data is consumed."""
    ranks: int
    """Processes that wrote it."""
    frozen: str
    """Digest of router and experts, rank 0's part."""


def state_text(state: TrainingState, scheduler: Mapping[str, Any]) -> str:
    """state.json."""
    document = {
        "schema": SCHEMA,
        "scheduler": dict(scheduler),
        **asdict(state),
    }
    return json.dumps(document, indent=1, sort_keys=True)


def read_state(folder: Path) -> tuple[TrainingState, dict[str, Any]]:
    """state.json as (state, scheduler); RESUME_DRIFT when it is not whole."""
    try:
        document = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if document.pop("schema") != SCHEMA:
            raise ValueError("unknown schema")
        scheduler = document.pop("scheduler")
        return TrainingState(**document), scheduler
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageFailure("RESUME_DRIFT", f"snapshot {folder}: {STATE}: {error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """This rank's part of a snapshot, copied out of the training's way: what is written from it is
    of one step, however far the training has gone on meanwhile."""

    trained: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]
    layout: dict[str, list[int]]
    random: tuple[dict[str, torch.Tensor], dict[str, Any]]


class Staging:
    """Host memory that snapshots are copied to, kept from one to the next: at most one is under
    way. Pinned beside a GPU, whose copies then run at the speed of the bus."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def copy(self, key: str, tensor: torch.Tensor) -> torch.Tensor:
        """This rank's part of `tensor`. Whole once the device is synchronised."""
        local = distributed.local_part(tensor).detach()
        buffer = self._buffers.get(key)
        if buffer is None or buffer.shape != local.shape or buffer.dtype != local.dtype:
            buffer = torch.empty(local.shape, dtype=local.dtype, pin_memory=local.is_cuda)
            self._buffers[key] = buffer
        return buffer.copy_(local, non_blocking=True)


def stage(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, staging: Staging
) -> Staged:
    """Copy weights, optimiser moments and generators of this rank to host memory. What an earlier
    snapshot has in `staging` is overwritten."""
    trained: dict[str, torch.Tensor] = {}
    moments: dict[str, torch.Tensor] = {}
    layout: dict[str, list[int]] = {}
    for name, parameter in parameters.items():
        trained[name] = staging.copy(name, parameter)
        layout[name] = [distributed.first_row(parameter), *parameter.shape]
        for moment, value in optimizer.state.get(parameter, {}).items():
            key = f"{name}:{moment}"
            moments[key] = staging.copy(key, value)
            layout[key] = [distributed.first_row(value), *value.shape] if value.dim() else []
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Staged(trained=trained, moments=moments, layout=layout, random=capture_random_state())


def write_tensors(folder: Path, staged: Staged) -> None:
    """The files of this rank."""
    header = {"layout": json.dumps(staged.layout, sort_keys=True)}
    save_file(staged.trained, _file(folder, "trainable"), metadata=header)
    save_file(staged.moments, _file(folder, "optimizer"), metadata=header)
    tensors, values = staged.random
    save_file(tensors, _file(folder, "random"), metadata={"values": json.dumps(values)})


def read_weights(folder: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Put the snapshot's weights into the model."""
    pieces = _Pieces(folder, "trainable")
    pieces.expect(set(parameters))
    with torch.no_grad():
        for name, parameter in parameters.items():
            pieces.fill(name, parameter)


def read_optimizer(
    folder: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Put the snapshot's moments into an AdamW-like optimiser over `parameters`."""
    pieces = _Pieces(folder, "optimizer")
    for name, parameter in parameters.items():
        moments = {key.partition(":")[2]: key for key in pieces.names if key.startswith(f"{name}:")}
        if not moments and pieces.names:
            raise StageFailure("RESUME_DRIFT", f"snapshot {folder}: no moments of {name}")
        state: dict[str, torch.Tensor] = {}
        for moment, key in moments.items():
            if pieces.is_scalar(key):
                state[moment] = pieces.scalar(key)
            else:
                state[moment] = torch.zeros_like(parameter.detach())
                pieces.fill(key, state[moment])
        optimizer.state[parameter] = state


def read_random_state(folder: Path) -> None:
    """This rank's generators; a rank that the writer did not have keeps its own seed's."""
    path = _file(folder, "random")
    if not path.is_file():
        return
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        values = json.loads(file.metadata()["values"])
    restore_random_state(tensors, values)


def optimizer_norm(optimizer: torch.optim.Optimizer) -> float:
    """L2 norm of all moments of all ranks."""
    total = 0.0
    for state in optimizer.state.values():
        for value in state.values():
            if torch.is_tensor(value) and value.dim():
                total += float(distributed.local_part(value).double().square().sum())
    return distributed.sum_over_ranks(total) ** 0.5


class _Pieces:
    """The tensors of one family of files, put together from the ranks that wrote them."""

    def __init__(self, folder: Path, family: str) -> None:
        self._files: list[tuple[Path, dict[str, list[int]]]] = []
        self.names: set[str] = set()
        paths = sorted(folder.glob(f"{family}.*-of-*.safetensors"))
        ranks = int(paths[0].name.split("-of-")[1].split(".")[0]) if paths else 1
        if len(paths) != ranks:
            raise StageFailure(
                "RESUME_DRIFT", f"snapshot {folder}: {len(paths)} of {ranks} {family}"
            )
        for path in paths:
            try:
                with safe_open(path, framework="pt") as file:
                    layout = json.loads(file.metadata()["layout"])
                    self.names |= set(file.keys())
            except Exception as error:  # safetensors raises its own, undeclared, classes
                raise StageFailure("RESUME_DRIFT", f"{path}: not whole: {error}") from error
            self._files.append((path, layout))

    def expect(self, names: set[str]) -> None:
        if wrong := names ^ self.names:
            raise StageFailure(
                "RESUME_DRIFT", f"snapshot and model disagree on {sorted(wrong)[:5]}"
            )

    def is_scalar(self, name: str) -> bool:
        return not self._files[0][1][name]

    def scalar(self, name: str) -> torch.Tensor:
        with safe_open(self._files[0][0], framework="pt") as file:
            return file.get_tensor(name).clone()

    def fill(self, name: str, target: torch.Tensor) -> None:
        """Copy the rows that `target`'s local part covers."""
        local = distributed.local_part(target)
        begin = distributed.first_row(target)
        filled = 0
        for path, layout in self._files:
            start, *shape = layout[name]
            if tuple(shape) != tuple(target.shape):
                raise StageFailure("RESUME_DRIFT", f"{path}: {name} is {shape}, not {target.shape}")
            with safe_open(path, framework="pt") as file:
                view = file.get_slice(name)
                rows = view.get_shape()[0]
                low, high = max(begin, start), min(begin + local.shape[0], start + rows)
                if low >= high:
                    continue
                local[low - begin : high - begin].copy_(view[low - start : high - start])
                filled += high - low
        if filled != local.shape[0]:
            raise StageFailure("RESUME_DRIFT", f"{name}: {filled} rows of {local.shape[0]} found")


def _file(folder: Path, family: str) -> Path:
    rank, ranks = distributed.rank(), distributed.world_size()
    return folder / f"{family}.{rank:05d}-of-{ranks:05d}.safetensors"
