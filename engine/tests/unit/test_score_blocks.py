"""Replace-one-block scores against whole forward passes of a model with that one block replaced."""

from __future__ import annotations

import json
import math

import pytest
import torch

from fretsaw_engine.data.packed import PADDING, attention_mask, pack, write_dataset
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure, read_job, run_job
from fretsaw_engine.methods.score import blocks, kept, mixture, units
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.methods.score.long_context import (
    Answers,
    answer_positions,
    paired_loss,
    rows_with,
)
from fretsaw_engine.moe import puzzle
from fretsaw_engine.moe.checkpoint import load_model, read_config
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint
from fretsaw_engine.stages import score_blocks

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano")
    write_nano_checkpoint(folder, seed=5)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint)


@pytest.fixture(scope="module")
def packed(model):
    return pack(documents(20, model.config.vocab_size), 64)


def documents(count, vocabulary, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        length = int(torch.randint(8, 40, (1,), generator=generator))
        ids = torch.randint(1, vocabulary, (length,), generator=generator).tolist()
        found.append(Document(ids=ids, mask=[0] * (length - 3) + [1] * 3))
    return found


def orders(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(8, generator=generator).tolist() for _ in model.model.layers]


def figures_of(layers, packed, choices, measure, folder, budget_bytes=2**30):
    """What a measure finds, by layer, over all rows."""
    store = kept.Kept(folder / "kept", budget_bytes)
    found = [[] for _ in choices]
    with torch.no_grad():
        for shard in units.shards_of(packed):
            if not measure.is_local:
                blocks.keep_inputs(layers, shard, store, budget_bytes)
            for unit in shard.units if measure.is_local else []:
                store.put(blocks.unit_name(unit), layers.embed(unit))
            for layer, wanted in enumerate(choices):
                replacing = blocks.Replacing(layer=layer, choices=wanted, measure=measure)
                found[layer].append(
                    blocks.score_layer(layers, shard, replacing, store, budget_bytes)
                )
            store.clear()
    return [{name: torch.cat([f[name] for f in parts]) for name in parts[0]} for parts in found]


def scores_of(layers, packed, choices, metric, folder, budget_bytes=2**30):
    measure = blocks.measure_of(metric, layers)
    figures = figures_of(layers, packed, choices, measure, folder, budget_bytes)
    return {
        (layer, choice): score
        for layer, wanted in enumerate(choices)
        for choice, score in blocks.scores_of(figures[layer], wanted).items()
    }


@pytest.fixture(scope="module")
def layers(checkpoint):
    with Parent(folder=checkpoint, budget_bytes=2**30) as opened:
        yield opened


def replaced_model(checkpoint, model, layer, *, kept=None, window="own"):
    """A whole gpt_oss_puzzle model that differs from `model` in one layer."""
    config = read_config(checkpoint)
    own = puzzle.layer_windows(model.config)
    block_configs = [{"num_local_experts": 8, "sliding_window": w} for w in own]
    state = dict(model.state_dict())
    if kept is not None:
        block_configs[layer]["num_local_experts"] = len(kept)
        for name in state:
            if f"layers.{layer}.mlp." in name:
                state[name] = state[name][kept]
    if window != "own":
        block_configs[layer]["sliding_window"] = window
    config |= {
        "block_configs": block_configs,
        "layer_types": puzzle.layer_types([b["sliding_window"] for b in block_configs]),
    }
    result = puzzle.build_model(config)
    result.load_state_dict(state)
    return result.eval()


def states(model, packed):
    """(output of every layer, final hidden state, logits) over the tokens that count."""
    counted = packed.document_ids != PADDING
    outputs = []
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out: outputs.append(out[counted]))
        for layer in model.model.layers
    ]
    document_mask = {
        window: attention_mask(packed.document_ids, window)
        for window in puzzle.layer_windows(model.config)
    }
    with torch.no_grad():
        if not isinstance(model, puzzle.GptOssPuzzleForCausalLM):
            document_mask = {
                ("full_attention" if w is None else "sliding_attention"): m
                for w, m in document_mask.items()
            }
        final = model.model(
            input_ids=packed.input_ids.long(),
            position_ids=packed.position_ids.long(),
            attention_mask=document_mask,
            use_cache=False,
        ).last_hidden_state[counted]
        logits = model.lm_head(final)
    for hook in hooks:
        hook.remove()
    return outputs, final, logits


def plain_score(metric, layer, own, other):
    def relative(a, b):
        return float((b - a).double().square().sum() / a.double().square().sum())

    if metric == "activation-mse":
        return relative(own[0][layer], other[0][layer])
    if metric == "hidden-mse":
        return relative(own[1], other[1])
    p, q = own[2].log_softmax(-1).double(), other[2].log_softmax(-1).double()
    return float((p.exp() * (p - q)).sum(-1).mean())


@pytest.mark.parametrize("metric", blocks.METRICS)
def test_scores_equal_whole_forward_passes_of_the_replaced_model(
    checkpoint, model, layers, packed, tmp_path, metric
):
    order = orders(model)
    choices = blocks.layer_choices(layers, order, [2, 5, 8], [2, 9])
    scores = scores_of(layers, packed, choices, metric, tmp_path)
    own = states(model, packed)
    assert {c for layer, c in scores if layer == 0} == {
        ("experts", 2),
        ("experts", 5),
        ("window", 2),
    }
    assert {c for layer, c in scores if layer == 1} == {
        ("experts", 2),
        ("experts", 5),
        ("window", 2),
        ("window", 9),
    }
    for (layer, (kind, value)), score in scores.items():
        kept_ids = sorted(order[layer][:value])
        changed = {"kept": kept_ids} if kind == "experts" else {"window": value}
        other = states(replaced_model(checkpoint, model, layer, **changed), packed)
        expected = plain_score(metric, layer, own, other)
        assert score.score == pytest.approx(expected, rel=1e-3, abs=1e-9), (layer, kind, value)
        assert score.score > 0
        assert 0 < score.standard_error < score.score


@pytest.mark.parametrize("metric", ["activation-mse", "hidden-mse"])
def test_scores_do_not_depend_on_what_runs_at_once_nor_on_memory(
    model, layers, packed, tmp_path, monkeypatch, metric
):
    choices = blocks.layer_choices(layers, orders(model), [3], [2])
    whole = scores_of(layers, packed, choices, metric, tmp_path)
    monkeypatch.setattr(units, "TOKENS_PER_UNIT", 128)
    split = scores_of(layers, packed, choices, metric, tmp_path)
    assert set(split) == set(whole)
    for key, score in split.items():
        assert score.score == pytest.approx(whole[key].score, rel=1e-5)
        assert score.standard_error == pytest.approx(whole[key].standard_error, rel=1e-4)
    with Parent(folder=layers.folder, budget_bytes=0) as streamed:
        assert scores_of(streamed, packed, choices, metric, tmp_path, 30_000) == split
    monkeypatch.setattr(mixture, "TOKENS_AT_ONCE", 7)
    assert scores_of(layers, packed, choices, metric, tmp_path).keys() == whole.keys()


def test_kept_inputs_go_to_files_beyond_their_budget(tmp_path):
    store = kept.Kept(tmp_path / "kept", 1000)
    tensors = {f"t{i}": torch.randn(100) for i in range(5)}
    for name, tensor in tensors.items():
        store.put(name, tensor)
    assert store.spilled_bytes == 3 * 400
    assert len(list((tmp_path / "kept").iterdir())) == 3
    assert all(torch.equal(store.get(name), tensor) for name, tensor in tensors.items())
    store.put("t4", torch.ones(2))
    assert torch.equal(store.get("t4"), torch.ones(2))
    store.clear()
    assert "t0" not in store
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_standard_error_of_a_score_is_that_of_repeated_draws():
    generator = torch.Generator().manual_seed(2)
    spread = []
    claimed = []
    for _ in range(400):
        scale = torch.rand(60, generator=generator, dtype=torch.float64) + 0.5
        noise = torch.rand(60, generator=generator, dtype=torch.float64)
        found = blocks.ratio(0.1 * scale * (0.5 + noise), scale)
        spread.append(found.score)
        claimed.append(found.standard_error)
    observed = torch.tensor(spread, dtype=torch.float64).std().item()
    assert sum(claimed) / len(claimed) == pytest.approx(observed, rel=0.1)
    single = blocks.ratio(torch.tensor([1.0, 0.0]), torch.tensor([4.0, 0.0]))
    assert single == blocks.Score(score=0.25, standard_error=None)


def test_kept_experts_alone_are_routed_to(layers, model):
    mlp = model.model.layers[0].mlp
    x_ND = torch.randn(200, 32, generator=torch.Generator().manual_seed(4))
    wanted = blocks.LayerChoices(order=list(range(8)), expert_counts=[1, 6], windows=[])
    with torch.no_grad():
        weights_MNE = blocks.subset_weights(layers, 0, wanted, x_ND)
        ids_NK = mlp.router(x_ND)[2]
    assert torch.equal(weights_MNE[1] != 0, torch.eye(8, dtype=torch.bool)[:1].expand(200, 8))
    assert (weights_MNE[2][:, 6:] == 0).all()
    torch.testing.assert_close(weights_MNE.sum(-1), torch.ones(3, 200))
    untouched = (ids_NK < 6).all(-1)
    assert 0 < untouched.sum() < 200
    assert torch.equal(weights_MNE[0][untouched], weights_MNE[2][untouched])


def test_long_context_losses_equal_those_of_whole_models_document_by_document(
    checkpoint, model, layers, tmp_path
):
    docs = documents(40, model.config.vocab_size, seed=9)
    docs = [with_parents_answer(model, doc, lie=i % 4 == 0) for i, doc in enumerate(docs)]
    packed = pack(docs, 64)
    windows = [[], [2, 9], [], [2]]
    choices = [blocks.LayerChoices(order=[], expert_counts=[], windows=w) for w in windows]
    measure = Answers(parent=layers, most_tokens=16)
    figures = figures_of(layers, packed, choices, measure, tmp_path)
    right = figures[0]["scale"].tolist()
    truth = [exact(model, doc) for doc in docs]
    assert sum(right) == sum(truth)
    assert 0.6 < sum(truth) / len(truth) < 0.8
    losses = {
        (layer, w): paired_loss(right, figures[layer][f"window-{w}"].tolist())
        for layer, wanted in enumerate(windows)
        for w in wanted
    }
    for (layer, window), loss in losses.items():
        other = replaced_model(checkpoint, model, layer, window=window)
        expected = paired_loss(truth, [exact(other, doc) for doc in docs])
        assert loss.accuracy_loss == pytest.approx(expected.accuracy_loss)
        assert loss.standard_error == pytest.approx(expected.standard_error)
        assert loss.undecided == expected.undecided
    assert losses[1, 2].accuracy_loss != 0


def with_parents_answer(model, doc, *, lie):
    """The document with the parent's own greedy answer in place of its last tokens."""
    prompt = [i for i, m in zip(doc.ids, doc.mask, strict=True) if not m]
    ids = list(prompt)
    for _ in range(3):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    if lie:
        ids[-1] = (ids[-1] + 1) % model.config.vocab_size
    return Document(ids=ids, mask=[0] * len(prompt) + [1] * 3)


def exact(model, doc):
    with torch.no_grad():
        best = model(torch.tensor([doc.ids])).logits[0].argmax(-1).tolist()
    return all(best[i - 1] == doc.ids[i] for i, judged in enumerate(doc.mask) if judged)


def test_only_the_first_tokens_of_an_answer_are_judged():
    docs = [
        Document(ids=[1] * 6, mask=[0, 0, 1, 1, 1, 1]),
        Document(ids=[2] * 4, mask=[0, 1, 0, 1]),
    ]
    positions = answer_positions(only_unit(pack(docs, 12)), 2)
    assert positions.int().tolist() == [[0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0]]


def test_an_example_that_begins_with_its_answer_is_refused():
    unit = only_unit(pack([Document(ids=[1, 2], mask=[1, 1])], 4))
    with pytest.raises(StageFailure, match="begins with its answer"):
        answer_positions(unit, 2)


def only_unit(packed):
    ((unit,),) = [shard.units for shard in units.shards_of(packed)]
    return unit


def test_rows_stop_at_the_asked_number_of_examples():
    packed = pack([Document(ids=[1] * 5, mask=[0] * 5) for _ in range(10)], 11)
    assert [len(rows_with(packed, n)) for n in (1, 2, 3, 9, 100)] == [1, 1, 2, 5, 5]


@pytest.mark.parametrize(
    ("parents", "others", "loss", "error", "undecided"),
    [
        ([True] * 4, [True] * 4, 0.0, 0.0, True),
        ([True] * 4, [False] * 4, 1.0, 0.0, False),
        ([True, True, False, False], [False, True, True, False], 0.0, math.sqrt(2 / 3 / 4), True),
        ([True] * 100, [False] * 10 + [True] * 90, 0.1, math.sqrt(0.09 / 99), False),
        ([True] * 100, [False] + [True] * 99, 0.01, math.sqrt(0.0099 / 99), True),
        ([False] * 100, [True] * 10 + [False] * 90, -0.1, math.sqrt(0.09 / 99), False),
        ([True], [False], 1.0, 0.0, True),
        ([], [], 0.0, 0.0, True),
    ],
)
def test_a_loss_within_noise_is_undecided(parents, others, loss, error, undecided):
    found = paired_loss(parents, others)
    assert found.accuracy_loss == pytest.approx(loss)
    assert found.standard_error == pytest.approx(error)
    assert found.undecided == undecided


def stage_job(folder, checkpoint, data, ranking, **settings):
    folder.mkdir()
    job = {
        "schema": "fretsaw/job/v1",
        "key": "k",
        "kind": "score-blocks",
        "version": "1",
        "attempt": 1,
        "with": {"expert_counts": [2, 4, 8], "windows": [2, 9]} | settings,
        "inputs": {
            "model": {"digest": "sha256:0", "path": str(checkpoint)},
            "data": {"digest": "sha256:1", "path": str(data)},
            "experts": {"digest": "sha256:2", "path": str(ranking)},
            "long_context": {"digest": "sha256:1", "path": str(data)},
        },
        "outputs": {"scores": str(folder / "scores")},
        "resources": {},
        "threads": 1,
        "folder": str(folder),
        "lease": {"seconds": 0},
    }
    (folder / "job.json").write_text(json.dumps(job))
    code = run_job(read_job(folder / "job.json"), score_blocks.run)
    events = (folder / "events.jsonl").read_text().splitlines()
    return code, json.loads(events[-1]), folder / "scores" / "scores.json"


def write_ranking(folder, orders):
    folder.mkdir()
    layers = [
        {"layer": i, "experts": [{"expert": e, "score": 1.0, "tokens": 1} for e in order]}
        for i, order in enumerate(orders)
    ]
    document = {"schema": "fretsaw/ranking/v1", "metric": "reap", "tokens": 1, "layers": layers}
    (folder / "ranking.json").write_text(json.dumps(document))
    return folder


def test_the_stage_lists_every_choice_and_writes_the_same_file_twice(
    checkpoint, model, packed, tmp_path
):
    data = tmp_path / "data"
    write_dataset(data, examples=[{}] * 20, packed=packed, description={})
    ranking = write_ranking(tmp_path / "ranking", orders(model))
    settings = {"long_context": {"examples": 12, "max_new_tokens": 2}}
    runs = [
        stage_job(tmp_path / f"job{i}", checkpoint, data, ranking, **settings) for i in range(2)
    ]
    assert [code for code, _, _ in runs] == [0, 0], runs[0][1]
    texts = [path.read_text() for _, _, path in runs]
    assert texts[0] == texts[1]
    document = json.loads(texts[0])
    assert document["schema"] == "fretsaw/block-scores/v1"
    assert document["parent_long_context_accuracy"] is not None
    first, second = document["layers"][:2]
    assert (first["attention"], first["window"], second["attention"], second["window"]) == (
        "sliding",
        4,
        "full",
        None,
    )
    assert [c["experts"] for c in first["expert_choices"]] == [2, 4, 8]
    assert first["expert_choices"][-1] == {"experts": 8, "score": 0}
    assert all(choice["standard_error"] > 0 for choice in first["expert_choices"][:-1])
    assert [c["window"] for c in first["window_choices"]] == [2, 4]
    assert [c["window"] for c in second["window_choices"]] == [2, 9, None]
    assert "long_context" not in first
    assert [entry["window"] for entry in second["long_context"]] == [2, 9]
    assert set(second["long_context"][0]) == {
        "window",
        "accuracy_loss",
        "standard_error",
        "undecided",
    }


def test_a_ranking_of_another_model_and_an_impossible_count_are_refused(
    checkpoint, model, packed, tmp_path
):
    data = tmp_path / "data"
    write_dataset(data, examples=[{}] * 20, packed=packed, description={})
    wrong = write_ranking(tmp_path / "wrong", [list(range(7))] * 4)
    code, event, _ = stage_job(tmp_path / "a", checkpoint, data, wrong)
    assert (code, event["code"]) == (1, "BAD_INPUT")
    assert "not one of this model's experts" in event["message"]
    right = write_ranking(tmp_path / "right", orders(model))
    code, event, _ = stage_job(tmp_path / "b", checkpoint, data, right, expert_counts=[1])
    assert (code, event["code"]) == (1, "BAD_INPUT")
    assert "1 is not within 2" in event["message"]
