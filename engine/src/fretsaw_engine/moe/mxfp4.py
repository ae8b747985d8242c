"""MXFP4: weights as 4-bit floats in groups of 32 that share a power-of-two scale.

A value is E2M1 (sign, two exponent bits, one mantissa bit: 0, .5, 1, 1.5, 2, 3, 4, 6), a scale is
E8M0 (a biased exponent, value 2^(byte - 127)). Source: OCP Microscaling Formats (MX) v1.0, section
5. The layout is the one that openai/gpt-oss checkpoints have and that transformers'
`integrations/mxfp4.py` reads: groups run along the *input* axis, two values a byte, the low four
bits first.

A group's exponent is chosen between the two that make sense: the smallest that clips nothing and
the one below it, whichever gives the smaller squared error (ties: the smaller exponent). A tensor
that came out of `decode` therefore encodes to the same values again.

Shape suffixes: E experts, I input axis, O output axis, G groups (I / 32).
"""

from __future__ import annotations

import torch

GROUP = 32
"""Values that share one scale."""

BIAS = 127
"""Bias of the E8M0 scale byte."""

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the three magnitude bits mean; the fourth bit is the sign."""

_THRESHOLDS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
"""Midpoints between neighbours of MAGNITUDES."""

_VALUES = (*MAGNITUDES, *(-m for m in MAGNITUDES))
_PAIRS = torch.tensor([[_VALUES[byte & 0x0F], _VALUES[byte >> 4]] for byte in range(256)])
"""What a byte holds: its low four bits first."""

_MIN_EXPONENT = -126
_MAX_EXPONENT = 125


def encode(weight_EIO: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise a stack of matrices.

    `weight_EIO`: [E, I, O] as transformers' GptOssExperts hold it, I a multiple of 32, finite.
    Returns blocks [E, O, I/32, 16] uint8 and scales [E, O, I/32] uint8.
    """
    grouped_EOGV = _grouped(weight_EIO)
    exponent_EOG = _exponents(grouped_EOGV)
    code_EOGV = _codes(torch.ldexp(grouped_EOGV, -exponent_EOG[..., None]))
    blocks = code_EOGV[..., 0::2] | (code_EOGV[..., 1::2] << 4)
    return blocks.contiguous(), (exponent_EOG + BIAS).to(torch.uint8)


def decode(
    blocks: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Give back [E, I, O] from blocks [E, O, I/32, 16] and scales [E, O, I/32].

    One expert at a time: a whole real layer at once would need 12 GiB.
    """
    if blocks.dtype != torch.uint8 or scales.dtype != torch.uint8:
        raise ValueError(f"MXFP4 wants uint8, found {blocks.dtype} and {scales.dtype}")
    if blocks.shape[:-1] != scales.shape or blocks.shape[-1] != GROUP // 2:
        raise ValueError(f"MXFP4 shapes disagree: {tuple(blocks.shape)}, {tuple(scales.shape)}")
    experts, out_features, groups = scales.shape
    result = torch.empty(experts, groups * GROUP, out_features, dtype=dtype)
    for expert in range(experts):
        result[expert] = decode_rows(blocks[expert], scales[expert], dtype).T
    return result


def decode_rows(
    blocks_OGB: torch.Tensor, scales_OG: torch.Tensor, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """One expert's matrix [O, I], as `torch.nn.functional.linear` takes it.

    Every byte is looked up whole: both of its values at once.
    """
    pairs = _PAIRS.to(device=blocks_OGB.device, dtype=dtype)
    value_OGV = pairs[blocks_OGB.int()].flatten(-2)
    return torch.ldexp(value_OGV, scales_OG.int()[..., None] - BIAS).flatten(1).to(dtype)


def round_trip(weight_EIO: torch.Tensor) -> torch.Tensor:
    """`decode(*encode(weight))` in float32 without the bytes between: for training under
    quantisation.
    """
    grouped_EOGV = _grouped(weight_EIO)
    exponent_EOG1 = _exponents(grouped_EOGV)[..., None]
    value_EOGV = torch.ldexp(_rounded(torch.ldexp(grouped_EOGV, -exponent_EOG1)), exponent_EOG1)
    return value_EOGV.flatten(-2).transpose(1, 2)


def _grouped(weight_EIO: torch.Tensor) -> torch.Tensor:
    if weight_EIO.dim() != 3 or weight_EIO.shape[1] % GROUP:
        shape = tuple(weight_EIO.shape)
        raise ValueError(
            f"MXFP4 wants [experts, inputs, outputs], inputs by {GROUP}; found {shape}"
        )
    weight_EOI = weight_EIO.detach().to(torch.float32).transpose(1, 2)
    return weight_EOI.unflatten(-1, (-1, GROUP))


def _exponents(grouped_EOGV: torch.Tensor) -> torch.Tensor:
    """int32 exponent of every group: of two candidates the one with the smaller error."""
    peak_EOG = grouped_EOGV.abs().amax(-1)
    if not bool(torch.isfinite(peak_EOG).all()):
        raise ValueError("MXFP4 cannot hold a weight that is not finite")
    # frexp: peak = m 2^e, m in [.5, 1). No clipping needs peak <= 6 2^x: x = e - 3 + (m > .75).
    mantissa, exponent = torch.frexp(peak_EOG)
    wide = exponent - 3 + (mantissa > 0.75).to(torch.int32)
    wide = torch.where(peak_EOG > 0, wide, torch.zeros_like(wide))
    wide = wide.clamp(_MIN_EXPONENT + 1, _MAX_EXPONENT)
    narrow = wide - 1
    # Both errors are in units of their own scale: 4^narrow e_narrow <= 4^wide e_wide.
    narrower = _squared_error(grouped_EOGV, narrow) <= 4 * _squared_error(grouped_EOGV, wide)
    return torch.where(narrower, narrow, wide).to(torch.int32)


def _squared_error(grouped_EOGV: torch.Tensor, exponent_EOG: torch.Tensor) -> torch.Tensor:
    scaled = torch.ldexp(grouped_EOGV, -exponent_EOG[..., None])
    return (_rounded(scaled) - scaled).square().sum(-1)


def _index(scaled: torch.Tensor) -> torch.Tensor:
    """Index into MAGNITUDES of the nearest magnitude (a midpoint goes down)."""
    return torch.bucketize(scaled.abs().contiguous(), torch.tensor(_THRESHOLDS))


def _rounded(scaled: torch.Tensor) -> torch.Tensor:
    return torch.copysign(torch.tensor(MAGNITUDES)[_index(scaled)], scaled)


def _codes(scaled: torch.Tensor) -> torch.Tensor:
    return (_index(scaled) | (torch.signbit(scaled).long() << 3)).to(torch.uint8)
