"""The MXFP4 encoder against transformers' dequantiser and against a search over every exponent."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from fretsaw_engine.moe import mxfp4


def _weights(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.randn(shape, generator=generator) * 3
    return torch.randn(shape, generator=generator) * spread.exp()


def test_decode_equals_transformers_dequantiser() -> None:
    generator = torch.Generator().manual_seed(1)
    blocks = torch.randint(0, 256, (3, 10, 2, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(90, 150, (3, 10, 2), generator=generator, dtype=torch.uint8)
    for dtype in (torch.float32, torch.bfloat16):
        theirs = convert_moe_packed_tensors(blocks, scales, dtype=dtype)
        assert torch.equal(mxfp4.decode(blocks, scales, dtype), theirs)


def test_encode_is_the_best_of_all_exponents_for_each_group() -> None:
    weight = _weights(2, 1, 32, 6)
    blocks, scales = mxfp4.encode(weight)
    ours = mxfp4.decode(blocks, scales)
    grid = torch.tensor(sorted({s * m for s, m in itertools.product((-1, 1), mxfp4.MAGNITUDES)}))
    for column in range(6):
        group = weight[0, :, column]
        errors = []
        for exponent in range(-30, 30):
            scaled = group / 2.0**exponent
            nearest = grid[(scaled[:, None] - grid[None]).abs().argmin(1)] * 2.0**exponent
            errors.append(float((nearest - group).square().sum()))
        mine = float((ours[0, :, column] - group).square().sum())
        assert mine == pytest.approx(min(errors), rel=1e-5)


def test_round_trip_is_decode_of_encode() -> None:
    weight = _weights(3, 4, 64, 20)
    assert torch.equal(mxfp4.round_trip(weight), mxfp4.decode(*mxfp4.encode(weight)))


def test_values_of_a_checkpoint_encode_to_themselves() -> None:
    once = mxfp4.round_trip(_weights(4, 4, 96, 8))
    assert torch.equal(mxfp4.round_trip(once), once)


def test_experts_are_encoded_independently() -> None:
    weight = _weights(5, 6, 64, 12)
    blocks, scales = mxfp4.encode(weight)
    for expert in range(6):
        alone = mxfp4.encode(weight[expert : expert + 1])
        assert torch.equal(alone[0][0], blocks[expert])
        assert torch.equal(alone[1][0], scales[expert])


def test_edges() -> None:
    zeros = torch.zeros(1, 32, 2)
    assert torch.equal(mxfp4.round_trip(zeros), zeros)
    tiny = torch.full((1, 32, 1), 1e-38)
    assert torch.isfinite(mxfp4.round_trip(tiny)).all()
    big = torch.full((1, 32, 1), 1e38)
    assert torch.isfinite(mxfp4.round_trip(big)).all()
    with pytest.raises(ValueError, match="not finite"):
        mxfp4.encode(torch.full((1, 32, 1), float("nan")))
    with pytest.raises(ValueError, match="inputs by 32"):
        mxfp4.encode(torch.zeros(1, 33, 2))
    with pytest.raises(ValueError, match="disagree"):
        mxfp4.decode(
            torch.zeros(1, 2, 1, 16, dtype=torch.uint8), torch.zeros(1, 2, 2, dtype=torch.uint8)
        )


def test_two_values_a_byte_low_bits_first() -> None:
    weight = torch.zeros(1, 32, 1)
    weight[0, 0, 0], weight[0, 1, 0] = 6.0, -1.0
    blocks, scales = mxfp4.encode(weight)
    assert int(scales[0, 0, 0]) == 127
    assert int(blocks[0, 0, 0, 0]) == 0b1010_0111
