"""Expert scores against a slow obvious reference, against other splits, and at the edges."""

from __future__ import annotations

import json

import pytest
import torch

from fretsaw_engine.data.packed import TENSORS, attention_mask, pack, read_dataset, write_dataset
from fretsaw_engine.harmony.render import Document
from fretsaw_engine.job import StageFailure, read_job, run_job
from fretsaw_engine.methods.score import mixture, parent, units
from fretsaw_engine.methods.score.budget import Budget
from fretsaw_engine.methods.score.experts import Tally, rank, tally_shard, unit_name
from fretsaw_engine.methods.score.kept import Kept
from fretsaw_engine.methods.score.layers import Parent
from fretsaw_engine.moe import gpt_oss, mxfp4
from fretsaw_engine.moe.checkpoint import load_model, open_tensors, read_config, write_checkpoint
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


def changed(folder, source, change):
    """A copy of a checkpoint with some tensors, or the config, changed."""
    config = dict(read_config(source))
    with open_tensors(source) as tensors:
        found = {name: tensors.get(name).clone() for name in tensors.names()}
    change(config, found)
    write_checkpoint(folder, config, found.items(), source)
    return folder


def opened(folder, budget_bytes=2**30):
    return Parent(folder=folder, budget_bytes=budget_bytes)


def tallies_of(folder, packed, tmp_path, budget_bytes=2**30):
    """All layers' tallies, shards added up in order."""
    with opened(folder, budget_bytes) as model, torch.no_grad():
        kept = Kept(tmp_path / "kept", budget_bytes)
        total = [Tally.empty(count) for count in model.expert_counts]
        for shard in units.shards_of(packed):
            for unit in shard.units:
                kept.put(unit_name(unit), model.embed(unit))
            for layer in range(model.layers):
                total[layer] += tally_shard(model, shard, layer, kept, budget_bytes)
        return total


def with_experts(top_k, experts):
    def change(config, tensors):
        config |= {"num_local_experts": experts, "num_experts_per_tok": top_k}
        for name in tensors:
            if gpt_oss.is_expert_or_router(name):
                tensors[name] = tensors[name][:experts].clone()

    return change


@pytest.mark.parametrize(("top_k", "experts"), [(2, 8), (1, 8), (4, 8), (2, 2), (1, 1), (8, 8)])
def test_both_measures_equal_the_slow_reference(checkpoint, tmp_path, top_k, experts):
    folder = changed(tmp_path / "model", checkpoint, with_experts(top_k, experts))
    model = load_model(folder)
    packed = pack(documents(3, 40, sizes=(12, 20)), 64)
    tallies = tallies_of(folder, packed, tmp_path)
    inputs, counted = [], (packed.document_ids != -1).flatten()
    hooks = [
        layer.mlp.register_forward_hook(lambda _m, args, _o: inputs.append(args[0].flatten(0, 1)))
        for layer in model.model.layers
    ]
    masks = {
        kind: attention_mask(packed.document_ids, window)
        for kind, window in ((gpt_oss.FULL, None), (gpt_oss.SLIDING, 4))
    }
    with torch.no_grad():
        model.model(
            input_ids=packed.input_ids.long(),
            position_ids=packed.position_ids.long(),
            attention_mask=masks,
            use_cache=False,
        )
        for hook in hooks:
            hook.remove()
        for layer, tally in enumerate(tallies):
            mlp = model.model.layers[layer].mlp
            reap, dropped, routed = slow_scores(mlp, inputs[layer][counted])
            assert tally.routed_E.tolist() == routed
            assert sum(routed) == int(counted.sum()) * top_k
            close = {"rtol": 1e-3, "atol": 1e-5}
            as_double = torch.tensor([reap, dropped], dtype=torch.float64)
            torch.testing.assert_close(tally.reap_E, as_double[0], **close)
            torch.testing.assert_close(tally.dropped_E, as_double[1], **close)


def test_padding_is_not_counted(checkpoint, tmp_path):
    docs = documents(12, 40)
    tight = tallies_of(checkpoint, pack(docs, 64), tmp_path)
    loose = tallies_of(checkpoint, pack(docs, 100), tmp_path)
    for a, b in zip(tight, loose, strict=True):
        assert a.tokens == b.tokens == sum(len(d.ids) for d in docs)
        assert torch.equal(a.routed_E, b.routed_E)
        torch.testing.assert_close(a.reap_E, b.reap_E, rtol=1e-5, atol=1e-7)


def test_scores_do_not_depend_on_what_runs_at_once(checkpoint, tmp_path, monkeypatch):
    packed = pack(documents(40, 40), 48)
    whole = score_experts.ranking("reap", tallies_of(checkpoint, packed, tmp_path), 1)
    monkeypatch.setattr(units, "TOKENS_PER_UNIT", 150)
    monkeypatch.setattr(units, "UNITS_PER_SHARD", 2)
    monkeypatch.setattr(mixture, "TOKENS_AT_ONCE", 7)
    split = score_experts.ranking("reap", tallies_of(checkpoint, packed, tmp_path), 1)
    for a, b in zip(whole["layers"], split["layers"], strict=True):
        assert [e["expert"] for e in a["experts"]] == [e["expert"] for e in b["experts"]]
        assert [e["tokens"] for e in a["experts"]] == [e["tokens"] for e in b["experts"]]
        assert [e["score"] for e in a["experts"]] == pytest.approx(
            [e["score"] for e in b["experts"]], rel=1e-6
        )


def test_memory_is_part_of_no_result(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "TOKENS_PER_UNIT", 150)
    packed = pack(documents(40, 40), 48)
    roomy = tallies_of(checkpoint, packed, tmp_path)
    tight = tallies_of(checkpoint, packed, tmp_path, budget_bytes=20_000)
    for a, b in zip(roomy, tight, strict=True):
        assert torch.equal(a.reap_E, b.reap_E)
        assert torch.equal(a.dropped_E, b.dropped_E)


def test_the_shares_of_a_memory_budget_are_no_more_than_it():
    budget = Budget.of(4)
    assert budget.weights + budget.kept + budget.working == 4 * 2**30


def test_equal_scores_are_ordered_by_expert():
    assert rank([0.5, 2.0, 0.5, 0.0, 2.0, 0.0]) == [1, 4, 0, 2, 3, 5]


def unreached(config, tensors):
    tensors["model.layers.2.mlp.router.bias"][5] = -1e4


def test_an_expert_that_no_token_reaches_is_named_and_has_score_zero(checkpoint, tmp_path):
    folder = changed(tmp_path / "model", checkpoint, unreached)
    tallies = tallies_of(folder, pack(documents(8, 40), 48), tmp_path)
    for metric in ("reap", "drop-out-error"):
        document = score_experts.ranking(metric, tallies, 1)
        assert {"layer": 2, "expert": 5} in document["unrouted"]
        entry = next(e for e in document["layers"][2]["experts"] if e["expert"] == 5)
        assert entry == {"expert": 5, "score": 0.0, "tokens": 0}


def test_too_few_tokens_for_an_expert_are_refused_and_it_is_named(checkpoint, tmp_path):
    folder = changed(tmp_path / "model", checkpoint, unreached)
    tallies = tallies_of(folder, pack(documents(8, 40), 48), tmp_path)
    with pytest.raises(StageFailure, match=r"layer 2 expert 5: 0 tokens.*lower min_tokens_per"):
        score_experts.check_counts(tallies, 1)
    score_experts.check_counts(tallies, 0)
    least = min(int(t.routed_E.min()) for t in tallies[:2])
    with pytest.raises(StageFailure, match=f": {least} tokens"):
        score_experts.check_counts(tallies[:2], least + 1)


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


def test_data_of_another_tokenizer_is_refused(checkpoint, tmp_path):
    for digest, is_good in (("sha256:" + "0" * 64, False), (None, True)):
        data = tmp_path / f"data-{is_good}"
        description = {} if digest is None else {"tokenizer_digest": digest}
        write_dataset(data, examples=[], packed=pack([], 8), description=description)
        if is_good:
            parent.check_tokenizer(read_dataset(data), checkpoint)
            continue
        with pytest.raises(StageFailure, match="was prepared with tokenizer sha256:0000"):
            parent.check_tokenizer(read_dataset(data), checkpoint)


def test_inputs_that_are_not_finite_name_layer_row_and_token(checkpoint, tmp_path):
    packed = pack(documents(4, 30), 48).rows(1, 2)
    poisoned = int(packed.input_ids[0, 7])

    def change(config, tensors):
        tensors["model.embed_tokens.weight"][poisoned] = float("nan")

    folder = changed(tmp_path / "model", checkpoint, change)
    with pytest.raises(StageFailure, match=r"layer 0, first at row 0, token [0-7]\b"):
        tallies_of(folder, packed, tmp_path)


def test_an_expert_whose_output_is_not_finite_is_named_with_layer_and_first_token(
    checkpoint, tmp_path
):
    def change(config, tensors):
        tensors["model.layers.1.mlp.experts.down_proj_bias"][3, 0] = float("inf")

    packed = pack(documents(40, 30), 48)
    folder = changed(tmp_path / "model", checkpoint, change)
    with pytest.raises(StageFailure, match=r"layer 1, expert 3, first at row \d+, token \d+"):
        tallies_of(folder, packed, tmp_path)


def test_an_expert_is_dequantised_as_the_whole_model_has_it(checkpoint):
    model = load_model(checkpoint)
    with opened(checkpoint, 0) as layers:
        expert = layers.expert(2, 5)
        theirs = model.model.layers[2].mlp.experts
        assert torch.equal(expert.gate_up.T, theirs.gate_up_proj[5])
        assert torch.equal(expert.down.T, theirs.down_proj[5])
        assert layers.expert(2, 5) is not expert
    with opened(checkpoint) as layers:
        assert layers.expert(2, 5) is layers.expert(2, 5)
    with open_tensors(checkpoint) as tensors:
        stem = "model.layers.2.mlp.experts.down_proj"
        blocks, scales = tensors.get(f"{stem}_blocks"), tensors.get(f"{stem}_scales")
        assert torch.equal(mxfp4.decode_rows(blocks[5], scales[5]), expert.down)


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
            "with": {
                "metric": "drop-out-error",
                "tokens": 300,
                "min_tokens_per_expert": 0,
                "seed": 7,
            },
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
