"""The chunked distillation loss against the plain formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torch.utils._python_dispatch import TorchDispatchMode

from fretsaw_engine.methods.distill.loss import distillation_loss

TOKENS, STUDENT, TEACHER, WORDS = 23, 8, 12, 37


def _inputs(dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return {
        "student": normal(TOKENS, STUDENT).requires_grad_(),
        "head": normal(WORDS, STUDENT).requires_grad_(),
        "teacher": normal(TOKENS, TEACHER),
        "teacher_head": normal(WORDS, TEACHER),
        "label": torch.randint(WORDS, (TOKENS,), generator=generator),
    }


def _plain(x: dict[str, torch.Tensor], temperature: float, ce_weight: float) -> torch.Tensor:
    student, teacher = x["student"] @ x["head"].T, x["teacher"] @ x["teacher_head"].T
    divergence = kl_div(
        log_softmax(student / temperature, -1),
        log_softmax(teacher / temperature, -1),
        reduction="sum",
        log_target=True,
    )
    label = cross_entropy(student, x["label"], reduction="sum")
    return ((1 - ce_weight) * temperature**2 * divergence + ce_weight * label) / TOKENS


@pytest.mark.parametrize("chunk", [1, 7, TOKENS, 1000])
@pytest.mark.parametrize(
    ("temperature", "ce_weight"), [(1.0, 0.0), (2.5, 0.0), (1.0, 1.0), (0.7, 0.3)]
)
def test_loss_and_gradients_equal_the_plain_formula(
    chunk: int, temperature: float, ce_weight: float
) -> None:
    ours, plain = _inputs(torch.float32), _inputs(torch.float32)
    result = distillation_loss(
        ours["student"],
        ours["head"],
        ours["teacher"],
        ours["teacher_head"],
        ours["label"],
        count=TOKENS,
        temperature=temperature,
        ce_weight=ce_weight,
        chunk=chunk,
    )
    expected = _plain(plain, temperature, ce_weight)
    (3 * result.loss).backward()
    (3 * expected).backward()
    torch.testing.assert_close(result.loss, expected, rtol=1e-5, atol=1e-6)
    for name in ("student", "head"):
        torch.testing.assert_close(ours[name].grad, plain[name].grad, rtol=1e-4, atol=1e-6)


def test_a_student_that_equals_its_teacher_has_no_loss_and_no_gradient() -> None:
    x = _inputs(torch.float32)
    result = distillation_loss(
        x["student"], x["head"], x["student"].detach(), x["head"].detach(), x["label"], count=TOKENS
    )
    result.loss.backward()
    assert abs(result.loss.item()) < 1e-6
    assert float(x["student"].grad.abs().max()) < 1e-6  # type: ignore[union-attr]


def test_a_batch_without_supervised_tokens_costs_nothing() -> None:
    x = _inputs(torch.float32)
    result = distillation_loss(
        x["student"][:0], x["head"], x["teacher"][:0], x["teacher_head"], x["label"][:0], count=1
    )
    result.loss.backward()
    assert result.loss.item() == 0.0


class _Largest(TorchDispatchMode):
    """Remembers the most elements that any tensor made inside had."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


def test_the_logits_of_the_whole_batch_never_exist() -> None:
    tokens, words, chunk = 512, 300, 16
    student = torch.randn(tokens, 8, requires_grad=True)
    head = torch.randn(words, 8, requires_grad=True)
    teacher, teacher_head = torch.randn(tokens, 8), torch.randn(words, 8)
    label = torch.randint(words, (tokens,))
    with _Largest() as largest:
        distillation_loss(
            student, head, teacher, teacher_head, label, count=tokens, ce_weight=0.5, chunk=chunk
        ).loss.backward()
    assert largest.elements <= max(chunk * words, tokens * 8, words * 8)
