"""Training of the rehearsal's parent: parts against slow references, and a run cut in two."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fretsaw_engine.harmony import tokens
from fretsaw_engine.harmony.render import rehearsal_renderer
from fretsaw_engine.job import Job, Snapshot, StageFailure
from fretsaw_engine.methods import pretrain
from fretsaw_engine.moe import gpt_oss
from fretsaw_engine.moe.checkpoint import build_model, checkpoint_tensors, load_model
from fretsaw_engine.stages import pretrain as stage

if TYPE_CHECKING:
    from pathlib import Path

SMALL: dict[str, Any] = {
    "steps": 12,
    "batch_size": 4,
    "warmup_steps": 2,
    "drill_pairs": [4, 6],
    "drill_most_steps": 4,
    "snapshot_every": 5,
    "evaluate_every": 8,
    "evaluate_examples": 2,
    "final_examples": 2,
    "model": {
        "layers": 2, "hidden": 32, "intermediate": 32, "experts": 4, "heads": 2, "kv_heads": 1,
        "head_dim": 16,
    },
}  # fmt: skip


def _job(folder: Path, resume: Snapshot | None = None, **settings: Any) -> Job:
    outputs = {"checkpoint": folder / "checkpoint", "curves": folder / "curves"}
    for output in outputs.values():
        output.mkdir(parents=True)
    return Job(
        key="sha256:k", kind="pretrain", version="1", attempt=1, settings={**SMALL, **settings},
        inputs={}, outputs=outputs, resources={}, threads=1, folder=folder, resume=resume,
        lease_seconds=0,
    )  # fmt: skip


def _model(settings: pretrain.PretrainSettings) -> Any:
    model = build_model(pretrain.config_document(settings))
    pretrain.initialise(model, settings.seed)
    return model


def test_a_run_cut_in_two_ends_with_the_same_bytes(tmp_path: Path) -> None:
    stage.run(_job(tmp_path / "whole"))
    snapshots = sorted((tmp_path / "whole/snapshots").iterdir())
    assert [s.name for s in snapshots] == ["00000005", "00000010"]
    stage.run(_job(tmp_path / "rest", Snapshot(path=snapshots[0], step=5)))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        whole, rest = (tmp_path / f / "checkpoint" / name for f in ("whole", "rest"))
        assert whole.read_bytes() == rest.read_bytes()
    curves = [
        [json.loads(line) for line in (tmp_path / f / "curves/curves.jsonl").open()]
        for f in ("whole", "rest")
    ]
    assert [c["step"] for c in curves[0]] == [c["step"] for c in curves[1]]
    scores = json.loads((tmp_path / "whole/curves/scores.json").read_text())
    assert set(scores["windowed"]) == {"arithmetic/high", "recall/high", "format/high"}
    load_model(tmp_path / "whole/checkpoint")


def test_a_snapshot_that_does_not_prove_itself_is_refused(tmp_path: Path) -> None:
    stage.run(_job(tmp_path / "whole", steps=6))
    folder = tmp_path / "whole/snapshots/00000005"
    document = json.loads((folder / "snapshot.json").read_text())
    document["state"]["probe_loss"] += 0.01
    (folder / "snapshot.json").write_text(json.dumps(document))
    with pytest.raises(StageFailure) as caught:
        stage.run(_job(tmp_path / "rest", Snapshot(path=folder, step=5), steps=6))
    assert caught.value.code == "RESUME_DRIFT"


def test_a_loss_that_is_not_finite_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(StageFailure) as caught:
        stage.run(_job(tmp_path, learning_rate=1e30, clip=1e30))
    assert caught.value.code == "NAN_LOSS"


@pytest.mark.parametrize(
    "settings",
    [{"step": 1}, {"model": {"layer": 2}}, {"tasks": {"chess": {}}}, {"mixture": {"x": 1}}],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(StageFailure, match="unknown"):
        stage.parse_settings(settings)


def test_training_under_quantisation_computes_what_the_checkpoint_will(tmp_path: Path) -> None:
    stage.run(_job(tmp_path, steps=3))
    settings = stage.parse_settings(SMALL)
    read = load_model(tmp_path / "checkpoint")
    model = _model(settings)
    with torch.no_grad():  # weights that need rounding, and whose rounding is not yet known
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    written = dict(checkpoint_tensors(model))
    with torch.no_grad():
        for name, value in pretrain.rounded_parameters(model).items():
            if name in written:
                assert torch.equal(written[name].float(), value), name
            read.get_parameter(name).copy_(value)
    batch = pretrain.batch(
        settings, 3, pretrain.Curriculum(pairs=6, mixed_at=0), rehearsal_renderer()
    )
    under = pretrain.forward(model, batch, settings.model.sliding_window, quantised=True)
    plain = pretrain.forward(read, batch, settings.model.sliding_window)
    assert under.cross_entropy == pytest.approx(plain.cross_entropy, rel=1e-6)


def test_thinned_rows_compute_what_a_thinned_model_would() -> None:
    """The slow reference: a model with these layers windowed and these experts' biases at -1e9."""
    settings = stage.parse_settings({**SMALL, "model": {**SMALL["model"], "layers": 6}})
    model = _model(settings)
    with torch.no_grad():
        for router in gpt_oss.router_modules(model):
            router.weight.normal_(0, 1)
    batch = pretrain.batch(
        settings, 3, pretrain.Curriculum(pairs=6, mixed_at=0), rehearsal_renderer()
    )
    rows = len(batch.rows)
    windowed, absent = torch.zeros_like(batch.windowed_LR), torch.zeros_like(batch.absent_LRE)
    windowed[1], windowed[5] = True, True
    absent[:, :, 2] = True
    absent[3, :, 0] = True
    thinned = dataclasses.replace(batch, windowed_LR=windowed, absent_LRE=absent)
    ours = pretrain.forward(model, thinned, settings.model.sliding_window)
    none = {"windowed_LR": windowed & False, "absent_LRE": absent & False}
    for layer, router in enumerate(gpt_oss.router_modules(model)):
        router.bias.data[absent[layer, 0]] = -1e9
    model.model.config.layer_types = [
        gpt_oss.SLIDING if bool(windowed[layer, 0]) else kind
        for layer, kind in enumerate(model.model.config.layer_types)
    ]
    slow = pretrain.forward(
        model, dataclasses.replace(batch, **none), settings.model.sliding_window
    )
    assert ours.cross_entropy == pytest.approx(slow.cross_entropy, rel=1e-5)
    assert rows == batch.windowed_LR.shape[1]


def test_thinning_keeps_a_full_layer_and_enough_experts() -> None:
    settings = pretrain.PretrainSettings(thin_layers=9, thin_experts=99)
    windowed, absent = pretrain.thinning(settings, 1.0, 500, random.Random(1))
    assert not windowed[0::2].any()
    assert int(windowed.sum(0).max()) == 3
    assert int((~absent).sum(-1).min()) == settings.model.experts_per_token
    none = pretrain.thinning(settings, 0.0, 50, random.Random(1))
    assert not none[0].any()
    assert not none[1].any()


def test_gradients_go_straight_through() -> None:
    value = torch.tensor([0.3, 1.7], requires_grad=True)
    out = pretrain.straight_through(value, value.detach().round())
    assert out.tolist() == [0.0, 2.0]
    (out * torch.tensor([3.0, 5.0])).sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [3.0, 5.0]


def test_load_balance_against_its_definition() -> None:
    logits = torch.randn(50, 8)
    picked = logits.topk(2).indices
    share = [sum(int(e in row) for row in picked.tolist()) / 100 for e in range(8)]
    mean = [sum(float(p) for p in logits.softmax(-1)[:, e]) / 50 for e in range(8)]
    slow = 8 * sum(f * p for f, p in zip(share, mean, strict=True))
    assert float(pretrain.load_balance(logits, picked)) == pytest.approx(slow, rel=1e-5)
    even = torch.zeros(8, 8)
    assert float(pretrain.load_balance(even, torch.arange(8)[:, None])) == pytest.approx(1.0)
    one = torch.full((5, 8), -100.0)
    one[:, 3] = 100.0
    assert float(pretrain.load_balance(one, torch.full((5, 1), 3))) == pytest.approx(8.0)


def test_the_learning_rate_warms_up_holds_and_decays() -> None:
    settings = pretrain.PretrainSettings(steps=1000, warmup_steps=100, decay_from=0.5)
    rates = [pretrain.learning_rate(settings, step) for step in range(1, 1001)]
    assert rates[0] == pytest.approx(settings.learning_rate / 100)
    assert set(rates[99:500]) == {settings.learning_rate}
    assert all(a > b for a, b in zip(rates[500:], rates[501:], strict=False))
    assert rates[-1] == pytest.approx(settings.last_learning_rate)


def test_phases_begin_where_the_settings_say() -> None:
    settings = pretrain.PretrainSettings(steps=100, decay_from=0.5, quantise_from=0.7)
    early, late, last = (pretrain.phase(settings, step) for step in (50, 51, 71))
    assert (early.quantised, late.quantised, last.quantised) == (False, False, True)
    assert (early.balance, early.thin_rows) == (settings.balance, settings.thin_rows)
    assert (late.balance, late.thin_rows) == (settings.late_balance, settings.late_thin_rows)


def test_lists_grow_on_success_only() -> None:
    settings = pretrain.PretrainSettings(drill_pairs=(4, 6), drill_most_steps=1000)
    curriculum = pretrain.Curriculum(pairs=4)
    for step in range(1, 100):
        curriculum.advance(settings, step, 0.9)
    assert (curriculum.pairs, curriculum.mixed_at) == (4, None)
    for step in range(100, 200):
        curriculum.advance(settings, step, 1.0)
        if curriculum.mixed_at is not None:
            break
    assert curriculum.pairs == 6
    assert curriculum.mixed_at is not None
    stuck = pretrain.Curriculum(pairs=4)
    stuck.advance(settings, 1000, 0.0)
    assert stuck.mixed_at == 1000


def test_drills_train_on_values_that_stand_in_the_list() -> None:
    settings = pretrain.PretrainSettings()
    renderer = rehearsal_renderer()
    words = {index: word for word, index in tokens.vocabulary().items()}
    batch = pretrain.batch(settings, 1, pretrain.Curriculum(pairs=10), renderer)
    assert set(batch.labels) == {pretrain.DRILL}
    for index in range(len(batch.labels)):
        mine = batch.rows.document_ids == index
        text = [words[i] for i in batch.rows.input_ids[mine].tolist()]
        mask = batch.rows.loss_mask[mine].tolist()
        listed = text[text.index("recall") + 1 : text.index("?")]
        trained = [at for at, kept in enumerate(mask) if kept]
        assert len(trained) == 10
        for at in trained:
            assert listed[listed.index(text[at - 1]) + 1] == text[at]


def test_batches_depend_on_seed_and_step_alone_and_hold_no_held_out_example() -> None:
    settings = pretrain.PretrainSettings(batch_size=8)
    renderer = rehearsal_renderer()
    mixed = pretrain.Curriculum(pairs=24, mixed_at=0)
    first = pretrain.batch(settings, 7, mixed, renderer)
    again = pretrain.batch(settings, 7, mixed, renderer)
    turned = dict(reversed(settings.mixture.items()))
    same = pretrain.batch(dataclasses.replace(settings, mixture=turned), 7, mixed, renderer)
    assert torch.equal(first.rows.input_ids, same.rows.input_ids)
    other = pretrain.batch(dataclasses.replace(settings, seed=2), 7, mixed, renderer)
    assert torch.equal(first.rows.input_ids, again.rows.input_ids)
    assert not torch.equal(first.rows.input_ids[0], other.rows.input_ids[0])
    assert {label.split("/")[0] for label in first.labels} >= {"arithmetic", "recall", "format"}
    assert (
        sum(
            pretrain.forward(
                _model(settings), first, settings.model.sliding_window
            ).accuracy_of.values()
        )
        < 3
    )
