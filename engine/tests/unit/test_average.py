"""Averages of checkpoints: exact where they must be, refused where they make no sense."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from stage_job import run_stage
from training_rig import write_prompts

from fretsaw_engine.data.packed import read_dataset
from fretsaw_engine.harmony.render import tokenizer_renderer
from fretsaw_engine.job import StageFailure
from fretsaw_engine.methods.average.sweep import SweepSettings, best, evaluate, grid, questions
from fretsaw_engine.methods.average.weights import shares, weighted_sum
from fretsaw_engine.moe.checkpoint import load_model, load_tokenizer
from fretsaw_engine.moe.gpt_oss import is_expert_or_router
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint
from fretsaw_engine.stages import average

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three checkpoints with one router and one set of experts."""
    folder = tmp_path_factory.mktemp("models")
    write_nano_checkpoint(folder / "a", seed=1)
    for index, name in enumerate(("b", "c"), 1):
        shutil.copytree(folder / "a", folder / name)
        edit(folder / name, lambda tensors, index=index: move(tensors, index))
    return {name: folder / name for name in ("a", "b", "c")}


def move(tensors, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in tensors.items():
        if not is_expert_or_router(name):
            noise = torch.randn(tensor.shape, generator=generator) * 0.1
            tensors[name] = (tensor.float() + noise).to(tensor.dtype)


def edit(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def copies(models, folder, *names):
    for name in names:
        shutil.copytree(models[name], folder / name)
    return {name: folder / name for name in names}


def run(folder, models, **settings):
    return run_stage(average, folder, {"models": models}, ["checkpoint"], **settings)


def tensors_of(folder):
    return load_file(folder / "model.safetensors")


def test_the_average_is_the_weighted_mean_rounded_once(models, tmp_path):
    done = run(tmp_path / "job", models, weights={"a": 1, "b": 2, "c": 5})
    assert done.code == 0, done.last_event
    found = tensors_of(done.out("checkpoint"))
    parts = {name: tensors_of(folder) for name, folder in models.items()}
    for name, tensor in found.items():
        assert tensor.dtype == parts["a"][name].dtype
        if is_expert_or_router(name):
            assert torch.equal(tensor, parts["a"][name])
        else:
            a, b, c = (parts[m][name].double() for m in ("a", "b", "c"))
            assert torch.equal(tensor, (a / 8 + b * 2 / 8 + c * 5 / 8).to(tensor.dtype)), name
    assert (done.out("checkpoint") / "config.json").read_bytes() == (
        models["a"] / "config.json"
    ).read_bytes()
    assert (done.out("checkpoint") / "tokenizer.json").exists()


def test_a_list_and_a_map_with_equal_weights_give_the_same_checkpoint(models, tmp_path):
    by_map = run(tmp_path / "map", models)
    by_list = run(tmp_path / "list", list(models.values()), weights=[2, 2, 2])
    name = "checkpoint/model.safetensors"
    assert (by_map.out(name)).read_bytes() == by_list.out(name).read_bytes()


def test_the_average_of_one_model_with_itself_is_that_model_bit_for_bit(models, tmp_path):
    done = run(tmp_path / "job", [models["b"]] * 3, weights=[0.1, 0.2, 0.7])
    ours, theirs = tensors_of(done.out("checkpoint")), tensors_of(models["b"])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_order_of_a_map_does_not_matter(models, tmp_path):
    weights = {"a": 0.3, "b": 0.3, "c": 0.4}
    one = run(tmp_path / "one", models, weights=weights)
    other = run(tmp_path / "other", dict(reversed(models.items())), weights=weights)
    name = "checkpoint/model.safetensors"
    assert one.out(name).read_bytes() == other.out(name).read_bytes()


@pytest.mark.parametrize("tensor", ["router.weight", "router.bias", "experts.down_proj_scales"])
def test_a_frozen_tensor_that_moved_is_named(models, tmp_path, tensor):
    name = f"model.layers.1.mlp.{tensor}"

    def change(tensors):
        flat = tensors[name].view(torch.uint8).flatten()
        flat[3] ^= 1

    folders = copies(models, tmp_path, "a", "b")
    edit(folders["b"], change)
    done = run(tmp_path / "job", folders)
    assert (done.code, done.last_event["code"]) == (1, "BAD_INPUT")
    assert name in done.last_event["message"]
    assert done.last_event["details"] == {"tensor": name}


def test_another_config_is_refused_and_the_key_named(models, tmp_path):
    folders = copies(models, tmp_path, "a", "b")
    config = json.loads((folders["b"] / "config.json").read_text())
    (folders["b"] / "config.json").write_text(json.dumps(config | {"sliding_window": 5}))
    done = run(tmp_path / "job", folders)
    assert done.last_event["code"] == "BAD_INPUT"
    assert "sliding_window" in done.last_event["message"]


def test_a_missing_tensor_is_refused(models, tmp_path):
    folders = copies(models, tmp_path, "a", "b")
    edit(folders["b"], lambda tensors: tensors.pop("model.norm.weight"))
    done = run(tmp_path / "job", folders)
    assert done.last_event["code"] == "BAD_INPUT"


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1},
        {"a": 1, "b": 1, "c": 1},
        [1],
        [1, -1],
        [0, 0],
        ["1", 1],
        [True, 1],
        [1, float("nan")],
    ],
)
def test_impossible_weights_are_refused(weights):
    with pytest.raises(StageFailure) as found:
        shares(["a", "b"], weights)
    assert found.value.code == "BAD_INPUT"


def test_sums_are_taken_in_float64():
    values = [torch.tensor([1e8]), torch.tensor([1.0]), torch.tensor([-1e8])]
    assert weighted_sum(values, [1.0, 1.0, 1.0]).item() == 1.0


def test_a_grid_has_every_share_that_sums_to_one():
    assert grid(2, 4) == [[i / 4, 1 - i / 4] for i in range(5)]
    three = grid(3, 2)
    assert len(three) == 6 and all(sum(weights) == 1 for weights in three)


def test_of_equal_accuracy_the_shorter_answers_win():
    rows = [
        {"accuracy": 0.5, "mean_tokens": 9.0},
        {"accuracy": 0.7, "mean_tokens": 12.0},
        {"accuracy": 0.7, "mean_tokens": 8.0},
        {"accuracy": 0.7, "mean_tokens": 8.0},
    ]
    assert best(rows) == 2


def test_a_sweep_evaluates_every_point_keeps_the_table_and_writes_the_best(models, tmp_path):
    """Three points. The answers are those of random models, so what is proven is the bookkeeping:
    each row is what that average scores by itself, and the checkpoint is that of the best row."""
    tasks = write_prompts(tmp_path / "tasks", 6)
    chosen = {"steps": 2, "examples": 5, "max_new_tokens": {"low": 6, "high": 8}}
    finished = run_stage(
        average,
        tmp_path / "job",
        {"models": copies(models, tmp_path, "a", "b"), "tasks": tasks},
        ["checkpoint", "sweep"],
        sweep={**chosen, "efforts": ["low", "high"]},
    )
    assert finished.code == 0, finished.last_event
    table = json.loads((finished.out("sweep") / "sweep.json").read_text())
    assert [row["weights"] for row in table["rows"]] == [
        {"a": 0.0, "b": 1.0},
        {"a": 0.5, "b": 0.5},
        {"a": 1.0, "b": 0.0},
    ]
    settings = SweepSettings(**chosen, efforts=["low", "high"])
    tokenizer = load_tokenizer(models["a"])
    asked = questions(read_dataset(tasks).examples, tokenizer_renderer(tokenizer), settings)
    assert len(asked) == 10
    alone = evaluate(load_model(models["b"]), asked, settings, tokenizer, [6, 7])
    assert {k: table["rows"][0][k] for k in alone} == alone
    assert table["chosen"] == best(table["rows"])
    weights = table["rows"][table["chosen"]]["weights"]
    plain = run(tmp_path / "plain", copies(models, tmp_path / "again", "a", "b"), weights=weights)
    ours, theirs = (tensors_of(f.out("checkpoint")) for f in (finished, plain))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_sweep_without_questions_or_with_weights_is_refused(models, tmp_path):
    chosen = {"max_new_tokens": {"low": 4}, "efforts": ["low"]}
    inputs = {"models": copies(models, tmp_path, "a", "b")}
    for name, more, said in (
        ("no-tasks", {}, "tasks"),
        ("both", {"weights": {"a": 1, "b": 1}}, "exclude"),
    ):
        finished = run_stage(
            average, tmp_path / name, inputs, ["checkpoint", "sweep"], sweep=chosen, **more
        )
        assert finished.last_event["code"] == "BAD_INPUT"
        assert said in finished.last_event["message"]
