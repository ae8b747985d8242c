"""Teacher and student as one module, layer by layer, with one copy of the experts.

The student's experts are rows of the teacher's and frozen, so it holds none: it looks them up by
the kept-expert map. A layer of both is one module, and so one unit of `fully_shard`: its experts
are gathered once a pass, and both models' tokens go through one grouped product
(`frozen_experts`). What the pair needs beyond the teacher is the student's trainable part, its
router rows, and their optimiser state.

One pass can have both streams (data that is seen once), the student's alone (the teacher's states
are known already) or the teacher's alone (to get to know them).

Shape suffixes: B rows, T tokens of a row, N = B * T, S supervised tokens of a batch, D student
width, E teacher width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.distill.experts import frozen_experts
from fretsaw_engine.methods.distill.loss import DistillationLoss, distillation_loss
from fretsaw_engine.methods.distill.rows import IGNORED
from fretsaw_engine.moe.gpt_oss import decoder_layers, expert_counts, is_expert_or_router
from fretsaw_engine.moe.puzzle import layer_windows
from fretsaw_engine.training import attention, distributed
from fretsaw_engine.training.masks import window_masks

if TYPE_CHECKING:
    from fretsaw_engine.training.context import Context

Batch = Mapping[str, torch.Tensor]
Streams = dict[str, torch.Tensor]
"""Hidden states [B, T, .] by model: "student", "teacher" or both."""

STUDENT, TEACHER = "student", "teacher"


class Pair(nn.Module):
    """Both models, and the loss: under `fully_shard` the heads are whole only in here."""

    accepts_loss_kwargs = True  # the Trainer then counts the labels of a whole accumulated batch

    def __init__(
        self,
        teacher: Any,
        student: Any,
        kept: Sequence[Sequence[int]],
        *,
        recompute: bool = False,
        context: Context | None = None,
        flex: bool | None = None,
        **loss: Any,
    ) -> None:
        """`kept`: for every layer the teacher's numbers of the student's experts. `loss`: settings
        of `distillation_loss`. `recompute`: activation checkpointing. `flex`: attention by
        flex_attention; on CUDA when nothing is said."""
        super().__init__()
        _check(teacher.config, student.config, kept)
        student.requires_grad_(True)
        teacher.requires_grad_(False)
        for model in (teacher, student):
            model.config._attn_implementation = attention.NAME
        self.models = {TEACHER: teacher, STUDENT: student}  # a dict: not registered, only the parts
        self.ends: Any = nn.ModuleDict({name: _Ends(model) for name, model in self.models.items()})
        pairs = zip(decoder_layers(teacher), decoder_layers(student), kept, strict=True)
        self.layers = nn.ModuleList(
            _PairLayer(mine, theirs, rows, recompute) for theirs, mine, rows in pairs
        )
        for name, parameter in self.named_parameters():
            if is_expert_or_router(name):
                parameter.requires_grad_(False)
        self.is_distributed_loading_by_transformers = distributed.is_sharded()  # see shard
        self._flex = distributed.device().type == "cuda" if flex is None else flex
        self._windows = {name: layer_windows(model.config) for name, model in self.models.items()}
        self.context = context
        self._loss = loss

    @property
    def width(self) -> int:
        """The teacher's hidden width."""
        return self.models[TEACHER].config.hidden_size

    def trainable(self) -> dict[str, nn.Parameter]:
        """What trains, by its name in the student's checkpoint."""
        named = self.models[STUDENT].named_parameters()
        return {name: p for name, p in named if p.requires_grad}

    def forward(
        self, batch: Batch, count: Any = None, teacher_SE: torch.Tensor | None = None
    ) -> DistillationLoss | torch.Tensor:
        """The loss of a batch, divided by `count` supervised tokens; the teacher reads along unless
        its states are given. Without a count: the teacher's states [S, E] alone.
        """
        supervised_BT = batch["labels"] != IGNORED
        if count is None:
            return self._states(batch, [TEACHER])[TEACHER][supervised_BT]
        names = [STUDENT, TEACHER] if teacher_SE is None else [STUDENT]
        states = self._states(batch, names)
        if teacher_SE is None:
            teacher_SE = states[TEACHER][supervised_BT]
        heads = {name: self.ends[name].lm_head.weight for name in (STUDENT, TEACHER)}
        return distillation_loss(
            states[STUDENT][supervised_BT], heads[STUDENT], teacher_SE, heads[TEACHER],
            batch["labels"][supervised_BT], count=count, **self._loss,
        )  # fmt: skip

    def _states(self, batch: Batch, names: Sequence[str]) -> Streams:
        """Last hidden states, after the final norm."""
        hidden = {
            name: self.ends[name].embed(batch["input_ids"], name == STUDENT) for name in names
        }
        ropes = {name: self.ends[name].rope(hidden[name], batch["position_ids"]) for name in names}
        masks = window_masks(
            [window for name in names for window in self._windows[name]],
            batch["document_ids"],
            flex=self._flex,
            context=self.context,
            dtype=hidden[names[0]].dtype,
        )
        for at, layer in enumerate(self.layers):
            seen = {name: masks[self._windows[name][at]] for name in names}
            hidden = layer(hidden, ropes, seen, self.context)
        return {name: self.ends[name].norm(hidden[name]) for name in names}


class _Ends(nn.Module):
    """What stands before and after a model's layers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.embed_tokens = model.model.embed_tokens
        self.rotary_emb = model.model.rotary_emb
        self.norm = model.model.norm
        self.lm_head = model.lm_head

    def embed(self, ids_BT: torch.Tensor, trains: bool) -> torch.Tensor:
        with torch.set_grad_enabled(trains and torch.is_grad_enabled()):
            return self.embed_tokens(ids_BT)

    def rope(self, hidden_BTD: torch.Tensor, position_BT: torch.Tensor) -> Any:
        return self.rotary_emb(hidden_BTD, position_BT)


class _PairLayer(nn.Module):
    """One decoder layer of both models."""

    kept: torch.Tensor

    def __init__(self, student: Any, teacher: Any, kept: Sequence[int], recompute: bool) -> None:
        super().__init__()
        del student.mlp.experts
        self.teacher = teacher
        self.student = student
        self.register_buffer("kept", torch.tensor(list(kept)), persistent=False)
        self._recompute = recompute

    def forward(
        self, hidden: Streams, ropes: dict[str, Any], masks: dict[str, Any], context: Context | None
    ) -> Streams:
        experts: Any = self.teacher.mlp.experts
        dtype = experts.gate_up_proj.dtype
        attended, queries, indices, weights = {}, [], [], []
        for name in hidden:
            with torch.set_grad_enabled(name == STUDENT and torch.is_grad_enabled()):
                given = (name, hidden[name], ropes[name], masks[name], context)
                if self._recompute and torch.is_grad_enabled():
                    found = checkpoint(self._attend, *given, use_reentrant=False)
                else:
                    found = self._attend(*given)
            attended[name], normed_ND, index_NK, weight_NK = found  # type: ignore[misc]
            queries.append(normed_ND.to(dtype))
            indices.append(index_NK)
            weights.append(weight_NK.to(dtype))
        mixed = frozen_experts(
            experts,
            torch.cat(queries),
            torch.cat(indices),
            torch.cat(weights),
            trained=len(queries[0]) if STUDENT in hidden else 0,
            recompute=self._recompute,
        ).split([len(query) for query in queries])
        return {
            name: _add(attended[name], part, name == STUDENT)
            for name, part in zip(hidden, mixed, strict=True)
        }

    def _attend(
        self, name: str, hidden_BTD: torch.Tensor, rope: Any, mask: Any, context: Context | None
    ) -> tuple[torch.Tensor, ...]:
        """Up to the experts: (attended [B, T, D], their input [N, D], experts and weights [N, K]),
        experts in the teacher's numbers."""
        block: Any = self.student if name == STUDENT else self.teacher
        more = {} if context is None else {"context": context}
        output_BTD, _ = block.self_attn(
            hidden_states=block.input_layernorm(hidden_BTD),
            position_embeddings=rope,
            attention_mask=mask,
            **more,
        )
        attended_BTD = hidden_BTD + output_BTD
        normed_ND = block.post_attention_layernorm(attended_BTD).flatten(0, 1)
        _, weight_NK, index_NK = block.mlp.router(normed_ND)
        if name == STUDENT:
            index_NK = self.kept[index_NK]
        return attended_BTD, normed_ND, index_NK, weight_NK


def _add(attended_BTD: torch.Tensor, part_ND: torch.Tensor, trains: bool) -> torch.Tensor:
    part_BTD = part_ND.view_as(attended_BTD).to(attended_BTD.dtype)
    return attended_BTD + (part_BTD if trains else part_BTD.detach())


def _check(teacher: Any, student: Any, kept: Sequence[Sequence[int]]) -> None:
    """BAD_INPUT unless the student can look its experts up in the teacher."""
    for name in ("vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size"):
        if getattr(teacher, name) != getattr(student, name):
            raise StageFailure(
                "BAD_INPUT",
                f"{name}: teacher {getattr(teacher, name)}, student {getattr(student, name)}",
            )
    counts = expert_counts(student.to_dict())
    if [len(rows) for rows in kept] != counts:
        raise StageFailure(
            "BAD_INPUT", f"the map keeps {[len(r) for r in kept]} experts, the student has {counts}"
        )
