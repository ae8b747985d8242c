"""The chunked distillation loss against the plain formula."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torch.utils._python_dispatch import TorchDispatchMode

from fretsaw_engine.methods.distill import loss as distill_loss
from fretsaw_engine.methods.distill.loss import distillation_loss, tokens_together

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.mark.parametrize("chunks_together", [1, 2, 100])
@pytest.mark.parametrize("chunk", [1, 7, TOKENS, 1000])
@pytest.mark.parametrize(
    ("temperature", "ce_weight"), [(1.0, 0.0), (2.5, 0.0), (1.0, 1.0), (0.7, 0.3)]
)
def test_loss_and_gradients_equal_the_plain_formula(
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    chunks_together: int,
    temperature: float,
    ce_weight: float,
) -> None:
    monkeypatch.setattr(distill_loss, "tokens_together", lambda *_: chunks_together * chunk)
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


def test_an_accelerator_gathers_whole_chunks_that_take_no_more_than_the_heads_gradient() -> None:
    states = torch.empty(1, 2880, dtype=torch.bfloat16)
    assert tokens_together(states, 512) == 512
    on_gpu = torch.empty(1, 2880, dtype=torch.bfloat16, device="meta")
    assert tokens_together(on_gpu, 512) == 5632 <= 2 * 2880
    assert tokens_together(on_gpu, 2048) == 4096
    assert tokens_together(on_gpu, 8192) == 8192
    assert tokens_together(on_gpu.float(), 512) == 2560


def test_gathered_chunks_add_to_the_heads_gradient_once_for_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens, words, chunk = 64, 300, 4

    def products(together: int) -> int:
        monkeypatch.setattr(distill_loss, "tokens_together", lambda *_: together)
        states = torch.randn(tokens, 8, requires_grad=True)
        head = torch.randn(words, 8, requires_grad=True)
        label = torch.randint(words, (tokens,))
        with _Counted((words, 8)) as counted:
            distillation_loss(
                states, head, states.detach(), head.detach(), label, count=tokens, chunk=chunk
            )
        return counted.times

    assert products(together=chunk) - products(together=32) == 14  # 16 times and 2 times


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


class _Counted(TorchDispatchMode):
    """Counts products that have a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.times = shape, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mm.default and tuple(result.shape) == self.shape:
            self.times += 1
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


def test_the_hidden_state_term_is_one_minus_the_cosine() -> None:
    x = _inputs(torch.float32)
    teacher = torch.randn(TOKENS, STUDENT, generator=torch.Generator().manual_seed(2))
    head = x["head"].detach()
    arguments = (x["student"], head, teacher, head, x["label"])
    without = distillation_loss(*arguments, count=TOKENS).loss
    loss = distillation_loss(*arguments, count=TOKENS, hidden_weight=0.5).loss
    unit = [t / t.norm(dim=-1, keepdim=True) for t in (x["student"], teacher)]
    expected = 0.5 * (1 - (unit[0] * unit[1]).sum(-1)).mean()
    torch.testing.assert_close(loss - without, expected, rtol=1e-4, atol=1e-6)
    (gradient,) = torch.autograd.grad(loss - without, x["student"])
    (plain,) = torch.autograd.grad(expected, x["student"])
    torch.testing.assert_close(gradient, plain, rtol=1e-4, atol=1e-6)


def _peak_bytes(run: Callable[[], Any]) -> int:
    """Most resident memory that `run` adds, in a process of its own (Linux's high-water mark)."""

    def high_water(reset: bool) -> int:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        (line,) = [
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        ]
        return int(line.split()[1]) * 1024

    def child(answer: Any) -> None:
        torch.set_num_threads(1)
        before = high_water(reset=True)
        run()
        answer.send(high_water(reset=False) - before)

    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(send,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return receive.recv()


def test_peak_memory_is_at_least_8_times_lower_than_the_plain_formulas() -> None:
    """8,192 tokens by 20,000 words, the default chunk."""
    tokens, words = 8192, 20_000
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    x = {
        "student": normal(tokens, STUDENT).requires_grad_(),
        "head": normal(words, STUDENT).requires_grad_(),
        "teacher": normal(tokens, TEACHER),
        "teacher_head": normal(words, TEACHER),
        "label": torch.randint(words, (tokens,), generator=generator),
    }
    plain = _peak_bytes(lambda: _plain(x, 1.0, 0.25).backward())
    chunked = _peak_bytes(
        lambda: distillation_loss(*x.values(), count=tokens, ce_weight=0.25).loss.backward()
    )
    logits = tokens * words * 4
    assert plain > 3 * logits  # the measurement sees what must be there
    assert plain / chunked >= 8, f"{plain / 2**20:.0f} MiB plain, {chunked / 2**20:.0f} MiB chunked"
