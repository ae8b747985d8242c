"""Expert scores against a slow obvious reference, against other splits, and at the edges."""

from __future__ import annotations

import json

import pytest
import torch

from fretsaw_engine.data.packed import TENSORS, Packed, pack, write_dataset
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure, read_job, run_job
from fretsaw_engine.methods.score import parent
from fretsaw_engine.methods.score.experts import rank, tally_experts, tally_layer
from fretsaw_engine.moe.checkpoint import load_model
from fretsaw_engine.rehearsal.nano import write_nano_checkpoint
from fretsaw_engine.stages import score_experts

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano")
    write_nano_checkpoint(folder, seed=3)
    return folder


def documents(count, vocabulary, seed=0, sizes=(5, 30)):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        length = int(torch.randint(*sizes, (1,), generator=generator))
        ids = torch.randint(1, vocabulary, (length,), generator=generator).tolist()
        found.append(Document(ids=ids, mask=[0] * (length // 2) + [1] * (length - length // 2)))
    return found


def slow_scores(mlp, x_ND):
    """Token by token, expert by expert, in float64: [reap sums, drop-out sums, routed]."""
    router, experts = mlp.router, mlp.experts
    count, top_k = router.weight.shape[0], router.top_k
    reap, dropped, routed = [0.0] * count, [0.0] * count, [0] * count

    def layer_output(x, allowed):
        logits = (router.weight.double() @ x + router.bias.double()).tolist()
        chosen = sorted(allowed, key=lambda e: (-logits[e], e))[:top_k]
        output = torch.zeros_like(x)
        if not chosen:
            return output, []
        gates = torch.softmax(torch.tensor([logits[e] for e in chosen], dtype=torch.float64), 0)
        parts = []
        for gate, e in zip(gates, chosen, strict=True):
            inner = experts._apply_gate(
                x @ experts.gate_up_proj[e].double() + experts.gate_up_proj_bias[e].double()
            )
            part = inner @ experts.down_proj[e].double() + experts.down_proj_bias[e].double()
            parts.append((e, float(gate), part))
            output = output + gate * part
        return output, parts

    for x in x_ND.double():
        whole, parts = layer_output(x, range(count))
        for e, gate, part in parts:
            reap[e] += gate * float(part.norm())
            without, _ = layer_output(x, [other for other in range(count) if other != e])
            dropped[e] += float((without - whole).square().sum())
            routed[e] += 1
    return reap, dropped, routed


def random_mlp(checkpoint, top_k, experts):
    mlp = load_model(checkpoint).model.layers[1].mlp
    mlp.router.top_k = top_k
    mlp.router.weight.data = mlp.router.weight.data[:experts]
    mlp.router.bias.data = mlp.router.bias.data[:experts]
    for name, parameter in list(mlp.experts.named_parameters()):
        setattr(mlp.experts, name, torch.nn.Parameter(parameter.data[:experts]))
    mlp.experts.num_experts = experts
    return mlp


@pytest.mark.parametrize(("top_k", "experts"), [(2, 8), (1, 8), (4, 8), (2, 2), (1, 1), (8, 8)])
def test_both_measures_equal_the_slow_reference(checkpoint, top_k, experts):
    mlp = random_mlp(checkpoint, top_k, experts)
    x_ND = torch.randn(50, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output_ND, tally = tally_layer(mlp, x_ND, torch.ones(50, dtype=torch.bool))
        expected = mlp(x_ND[None])[0][0]
        reap, dropped, routed = slow_scores(mlp, x_ND)
    torch.testing.assert_close(output_ND, expected, rtol=1e-4, atol=1e-5)
    assert tally.routed_E.tolist() == routed
    assert sum(routed) == 50 * top_k
    as_double = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(tally.reap_E, torch.tensor(reap, dtype=torch.float64), **as_double)
    torch.testing.assert_close(
        tally.dropped_E, torch.tensor(dropped, dtype=torch.float64), **as_double
    )


def test_padding_is_not_counted(checkpoint):
    model = load_model(checkpoint)
    docs = documents(12, model.config.vocab_size)
    tight = tally_experts(model, pack(docs, 64))
    loose = tally_experts(model, pack(docs, 100))
    for a, b in zip(tight, loose, strict=True):
        assert a.tokens == b.tokens == sum(len(d.ids) for d in docs)
        assert torch.equal(a.routed_E, b.routed_E)
        torch.testing.assert_close(a.reap_E, b.reap_E, rtol=1e-5, atol=1e-7)


def test_scores_do_not_depend_on_how_the_data_is_split(checkpoint, monkeypatch):
    model = load_model(checkpoint)
    packed = pack(documents(40, model.config.vocab_size), 48)
    whole = score_experts.ranking("reap", tally_experts(model, packed), 1)
    monkeypatch.setattr(parent.batches, "__defaults__", (3,))
    monkeypatch.setattr("fretsaw_engine.methods.score.experts.TOKENS_AT_ONCE", 7)
    halves = [packed.rows(0, 5), packed.rows(5, len(packed))]
    sums = [a + b for a, b in zip(*(tally_experts(model, half) for half in halves), strict=True)]
    split = score_experts.ranking("reap", sums, 1)
    for a, b in zip(whole["layers"], split["layers"], strict=True):
        assert [e["expert"] for e in a["experts"]] == [e["expert"] for e in b["experts"]]
        assert [e["tokens"] for e in a["experts"]] == [e["tokens"] for e in b["experts"]]
        assert [e["score"] for e in a["experts"]] == pytest.approx(
            [e["score"] for e in b["experts"]], rel=1e-6
        )


def test_equal_scores_are_ordered_by_expert():
    assert rank([0.5, 2.0, 0.5, 0.0, 2.0, 0.0]) == [1, 4, 0, 2, 3, 5]


def test_an_expert_that_no_token_reaches_is_named_and_has_score_zero(checkpoint):
    model = load_model(checkpoint)
    model.model.layers[2].mlp.router.bias.data[5] = -1e4
    tallies = tally_experts(model, pack(documents(8, model.config.vocab_size), 48))
    for metric in ("reap", "drop-out-error"):
        document = score_experts.ranking(metric, tallies, 1)
        assert {"layer": 2, "expert": 5} in document["unrouted"]
        entry = next(e for e in document["layers"][2]["experts"] if e["expert"] == 5)
        assert entry == {"expert": 5, "score": 0.0, "tokens": 0}


def test_rows_are_drawn_by_seed_until_they_hold_enough_tokens():
    packed = pack(documents(60, 50), 48)
    some = parent.choose_rows(packed, 200, seed=4)
    held = int((some.document_ids >= 0).sum())
    assert 200 <= held < 200 + 48
    again = parent.choose_rows(packed, 200, seed=4)
    assert all(torch.equal(getattr(some, n), getattr(again, n)) for n in TENSORS)
    other = parent.choose_rows(packed, 200, seed=5)
    assert not torch.equal(some.input_ids, other.input_ids)
    assert len(parent.choose_rows(packed, 10**9, seed=4)) == len(packed)
    assert parent.choose_rows(packed, None, seed=4) is packed


def test_data_of_another_vocabulary_or_without_rows_is_refused():
    packed = pack(documents(3, 50), 48)
    with pytest.raises(StageFailure, match="another tokenizer"):
        parent.calibration_rows(packed, 10, None, 1)
    with pytest.raises(StageFailure, match="no packed rows"):
        parent.calibration_rows(None, 10, None, 1)


def test_activations_that_are_not_finite_name_layer_row_and_token(checkpoint):
    model = load_model(checkpoint)
    packed = pack(documents(4, 30), 48)
    model.model.embed_tokens.weight.data[int(packed.input_ids[1, 7])] = float("nan")
    packed = Packed(
        input_ids=packed.input_ids[1:2],
        position_ids=packed.position_ids[1:2],
        document_ids=packed.document_ids[1:2],
        loss_mask=packed.loss_mask[1:2],
    )
    with pytest.raises(StageFailure, match=r"layer 0, row 0, token [0-7]\b"):
        tally_experts(model, packed)


def test_the_stage_writes_the_same_ranking_twice(checkpoint, tmp_path):
    data = tmp_path / "data"
    packed = pack(documents(30, 40), 48)
    write_dataset(data, examples=[{}] * 30, packed=packed, description={})
    written = []
    for attempt in (1, 2):
        folder = tmp_path / f"job{attempt}"
        folder.mkdir()
        job = {
            "schema": "fretsaw/job/v1",
            "key": "k",
            "kind": "score-experts",
            "version": "1",
            "attempt": attempt,
            "with": {"metric": "drop-out-error", "tokens": 300, "seed": 7},
            "inputs": {
                "model": {"digest": "sha256:0", "path": str(checkpoint)},
                "data": {"digest": "sha256:1", "path": str(data)},
            },
            "outputs": {"ranking": str(folder / "out" / "ranking")},
            "resources": {},
            "threads": 1,
            "folder": str(folder),
            "lease": {"seconds": 0},
        }
        (folder / "job.json").write_text(json.dumps(job))
        assert run_job(read_job(folder / "job.json"), score_experts.run) == 0
        written.append((folder / "out" / "ranking" / "ranking.json").read_text())
    assert written[0] == written[1]
    document = json.loads(written[0])
    assert document["schema"] == "fretsaw/ranking/v1"
    for layer in document["layers"]:
        scores = [entry["score"] for entry in layer["experts"]]
        assert scores == sorted(scores, reverse=True)
        assert {entry["expert"] for entry in layer["experts"]} == set(range(8))
