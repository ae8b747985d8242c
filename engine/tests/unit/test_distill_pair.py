"""Teacher and student with one copy of the experts, against two whole models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from training_rig import KEEP, write_answers, write_child, write_parent

from fretsaw_engine.data.packed import pack
from fretsaw_engine.data.stored import StoredRows
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.distill import experts
from fretsaw_engine.methods.distill.load import load_pair
from fretsaw_engine.methods.distill.loss import distillation_loss
from fretsaw_engine.methods.distill.pair import STUDENT, TEACHER, Pair
from fretsaw_engine.methods.distill.rows import IGNORED, PlannedRows, plan
from fretsaw_engine.moe.checkpoint import load_model
from fretsaw_engine.moe.gpt_oss import FULL, SLIDING, is_expert_or_router
from fretsaw_engine.moe.puzzle import GptOssPuzzleConfig, layer_windows
from fretsaw_engine.training.masks import EAGER_MAX, window_masks

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Rig:
    parent: Path
    child: Path
    batch: dict[str, torch.Tensor]

    def pair(self, **settings: Any) -> Pair:
        return load_pair(self.parent, self.child, KEEP, **settings)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("pair")
    parent = write_parent(root / "parent")
    child = write_child(root / "child", parent)
    stored = StoredRows([write_answers(root / "answers", 24)], 80)
    chosen = plan(stored.sizes, tokens=100, batch=4, seed=1, data=[])
    return Rig(parent, child, PlannedRows(stored, chosen).rows([0, 1, 2, 3]))


def _whole(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Last hidden states as transformers' own model computes them."""
    masks: Any = window_masks(layer_windows(model.config), batch["document_ids"], flex=False)
    if not isinstance(model.config, GptOssPuzzleConfig):
        masks = {(FULL if w is None else SLIDING): mask for w, mask in masks.items()}
    return model.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=masks,
        use_cache=False,
    ).last_hidden_state


@torch.no_grad()
def test_student_logits_are_those_of_the_assembled_checkpoint_bit_for_bit(rig: Rig) -> None:
    pair, child, parent = rig.pair(), load_model(rig.child), load_model(rig.parent)
    for name, model in ((STUDENT, child), (TEACHER, parent)):
        states = pair._states(rig.batch, [name])[name]
        logits = pair.ends[name].lm_head(states)
        assert torch.equal(logits, model.lm_head(_whole(model, rig.batch)))


@torch.no_grad()
def test_one_product_for_both_gives_each_what_it_gets_alone(rig: Rig) -> None:
    pair = rig.pair()
    both = pair._states(rig.batch, [STUDENT, TEACHER])
    for name in (STUDENT, TEACHER):
        alone = pair._states(rig.batch, [name])[name]
        torch.testing.assert_close(both[name], alone, rtol=1e-5, atol=1e-6)


def test_experts_in_parts_give_the_same_states_and_gradients(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        pair = rig.pair(recompute=True)
        loss = pair(rig.batch, 10.0).loss
        loss.backward()
        return loss.detach(), {name: p.grad for name, p in pair.trainable().items()}  # type: ignore[misc]

    whole, gradients = found()
    monkeypatch.setattr(experts, "TOKENS_AT_ONCE", 50)
    parts, ours = found()
    torch.testing.assert_close(parts, whole)
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours[name], gradient, msg=name)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("is_known", [False, True])
def test_loss_and_gradients_are_those_of_two_whole_models(
    rig: Rig, recompute: bool, is_known: bool
) -> None:
    settings: dict[str, Any] = {"temperature": 1.5, "ce_weight": 0.25, "hidden_weight": 0.5}
    pair = rig.pair(recompute=recompute, **settings)
    supervised = rig.batch["labels"] != IGNORED
    count = float(supervised.sum())
    with torch.no_grad():
        known = pair(rig.batch) if is_known else None
    ours = pair(rig.batch, count, known).loss
    ours.backward()

    child, parent = load_model(rig.child), load_model(rig.parent)
    theirs = distillation_loss(
        _whole(child, rig.batch)[supervised],
        child.lm_head.weight,
        _whole(parent, rig.batch).detach()[supervised],
        parent.lm_head.weight.detach(),
        rig.batch["labels"][supervised],
        count=count,
        **settings,
    ).loss
    theirs.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    trained = pair.trainable()
    for name, parameter in child.named_parameters():
        assert (name in trained) != is_expert_or_router(name)
        if name in trained:
            largest = float(parameter.grad.abs().max())  # type: ignore[union-attr]
            torch.testing.assert_close(
                trained[name].grad, parameter.grad, rtol=1e-4, atol=1e-5 * max(largest, 1e-8)
            )


def test_the_pair_holds_the_teacher_and_what_trains_and_no_second_copy_of_experts(rig: Rig) -> None:
    pair = rig.pair()
    held = sum(p.numel() for p in pair.parameters())
    teacher = sum(p.numel() for p in load_model(rig.parent).parameters())
    trains = sum(p.numel() for p in pair.trainable().values())
    routers = sum(
        p.numel() for n, p in load_model(rig.child).named_parameters() if ".mlp.router." in n
    )
    assert held == teacher + trains + routers
    storages = {p.untyped_storage().data_ptr() for p in pair.parameters()}
    assert len(storages) == len(list(pair.parameters()))


def test_nothing_frozen_asks_for_gradients_and_backward_leaves_none(rig: Rig) -> None:
    pair = rig.pair()
    pair(rig.batch, 10.0).loss.backward()
    for name, parameter in pair.named_parameters():
        frozen = (
            is_expert_or_router(name)
            or name.startswith(("ends.teacher", "layers."))
            and (".teacher." in name)
        )
        assert parameter.requires_grad != frozen, name
        assert (parameter.grad is None) == frozen, name


@torch.no_grad()
def test_a_document_in_a_packed_row_is_read_as_if_it_stood_alone(rig: Rig) -> None:
    pair = rig.pair()
    generator = torch.Generator().manual_seed(1)
    documents = [
        torch.randint(10, 250, (size,), generator=generator).tolist() for size in (9, 14, 7)
    ]

    def read(documents: list[list[int]], length: int) -> Any:
        packed = pack([Document(ids=ids, mask=[1] * len(ids)) for ids in documents], length)
        batch = {
            "input_ids": packed.input_ids.long(),
            "position_ids": packed.position_ids.long(),
            "document_ids": packed.document_ids,
        }
        return pair._states(batch, [STUDENT, TEACHER])

    together, at = read(documents, 32), 0
    for ids in documents:
        alone = read([ids], len(ids))
        for name in (STUDENT, TEACHER):
            part = together[name][0, at : at + len(ids)]
            torch.testing.assert_close(part, alone[name][0], rtol=1e-4, atol=1e-5)
        at += len(ids)


@torch.no_grad()
def test_flex_attention_with_sinks_equals_the_eager_formula(rig: Rig) -> None:
    eager, flex = rig.pair(), rig.pair(flex=True).requires_grad_(False)
    ours, theirs = (p._states(rig.batch, [STUDENT, TEACHER]) for p in (flex, eager))
    real = rig.batch["document_ids"] >= 0
    for name in (STUDENT, TEACHER):
        torch.testing.assert_close(ours[name][real], theirs[name][real], rtol=1e-4, atol=1e-5)


def test_eager_attention_is_refused_above_8192_tokens() -> None:
    ids = torch.zeros(1, EAGER_MAX + 1, dtype=torch.int32)
    with pytest.raises(StageFailure, match="flex_attention") as failure:
        window_masks([4, None], ids, flex=False)
    assert failure.value.code == "BAD_INPUT"


def test_a_map_of_other_sizes_than_the_students_is_refused(rig: Rig) -> None:
    with pytest.raises(StageFailure, match="the student has"):
        load_pair(rig.parent, rig.child, [KEEP[0], [0, 2, 4], *KEEP[2:]])


def test_a_model_built_empty_and_filled_is_the_model_that_is_loaded(rig: Rig) -> None:
    pair, parent, child = rig.pair(), load_model(rig.parent), load_model(rig.child)
    teacher = dict(pair.models[TEACHER].named_parameters())
    for name, parameter in parent.named_parameters():
        assert torch.equal(teacher[name], parameter), name
    for name, parameter in pair.trainable().items():
        assert torch.equal(dict(child.named_parameters())[name], parameter), name
    frequencies = parent.model.rotary_emb.inv_freq
    assert torch.equal(pair.ends[TEACHER].rotary_emb.inv_freq, frequencies)
