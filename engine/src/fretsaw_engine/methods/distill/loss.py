"""Knowledge distillation without ever holding the logits of all tokens.

    L = (1 - c) T^2 KL(p || q) + c CE(q_1, label)
    p = softmax(z_teacher / T),  q = softmax(z_student / T),  q_1 = softmax(z_student)

summed over the supervised tokens and divided by a count given by the caller. Forward KL on the
teacher's whole distribution and the factor T^2 (which keeps the gradient's size when T changes)
are Hinton et al. 2015, arXiv 1503.02531, section 2. With 201,088 words and 131,072 tokens one
float32 [T, V] tensor would be 98 GiB; so tokens go by in chunks, and the gradients of a chunk are
computed with its loss, while its logits are there.

The output head's own gradient is a float32 [V, D], 2.3 GB at gpt-oss's size: adding to it after
every chunk costs an accelerator more than the product that is added. So there the gradients of
logits of several chunks are gathered, in the dtype of the states, and go into one product: as many
as take no more memory than the sum itself, 5,760 tokens of gpt-oss in bfloat16.

Shape suffixes: T supervised tokens, D student width, E teacher width, V vocabulary, C tokens of
one chunk, G tokens whose gradients of logits are gathered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cosine_similarity, log_softmax


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationLoss:
    """`loss` carries the gradient. `divergence` (nats, temperature 1 scale of T) and
    `cross_entropy` are sums over tokens divided by the same count, for the curves.
    """

    loss: torch.Tensor
    divergence: torch.Tensor
    cross_entropy: torch.Tensor


def distillation_loss(
    student_TD: torch.Tensor,
    student_head_VD: torch.Tensor,
    teacher_TE: torch.Tensor,
    teacher_head_VE: torch.Tensor,
    label_T: torch.Tensor,
    *,
    count: torch.Tensor | float,
    temperature: float = 1.0,
    ce_weight: float = 0.0,
    hidden_weight: float = 0.0,
    chunk: int = 512,
) -> DistillationLoss:
    """The loss above from last hidden states and output heads, and `hidden_weight` times
    `hidden_loss`. `chunk`: tokens whose logits exist at once.
    """
    together = tokens_together(student_TD, chunk)
    loss, divergence, cross_entropy = _ChunkedDistillation.apply(
        student_TD, student_head_VD, teacher_TE, teacher_head_VE, label_T,
        1.0 / float(count), temperature, ce_weight, chunk, together,
    )  # fmt: skip
    if hidden_weight:
        loss = loss + hidden_weight * hidden_loss(student_TD, teacher_TE) / float(count)
    return DistillationLoss(loss=loss, divergence=divergence, cross_entropy=cross_entropy)


def tokens_together(student_TD: torch.Tensor, chunk: int) -> int:
    """Tokens whose part of the head's gradient is added at once: whole chunks. One chunk on the
    CPU, where adding costs next to nothing beside the product."""
    if student_TD.device.type == "cpu":
        return chunk
    fit = 4 * student_TD.shape[1] // student_TD.element_size()
    return max(1, fit // chunk) * chunk


def hidden_loss(student_TD: torch.Tensor, teacher_TD: torch.Tensor) -> torch.Tensor:
    """Sum over tokens of 1 - cos(student, teacher), of last hidden states: the hidden-state term of
    Puzzle's distillation (Bercovich et al., arXiv 2411.19146), here at the last layer alone, which
    is what is kept of a teacher that is not run again. Widths must be equal.
    """
    cosine_T = cosine_similarity(student_TD.float(), teacher_TD.float(), dim=-1)
    return (1 - cosine_T).sum()


class _ChunkedDistillation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student_TD: torch.Tensor,
        student_head_VD: torch.Tensor,
        teacher_TE: torch.Tensor,
        teacher_head_VE: torch.Tensor,
        label_T: torch.Tensor,
        scale: float,
        temperature: float,
        ce_weight: float,
        chunk: int,
        together: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        grad_student_TD = torch.zeros_like(student_TD) if ctx.needs_input_grad[0] else None
        wants_head = ctx.needs_input_grad[1]
        head = _HeadGradient(student_head_VD, student_TD, chunk, together) if wants_head else None
        sums = torch.zeros(2, dtype=torch.float64, device=student_TD.device)
        for start in range(0, student_TD.shape[0], chunk):
            part = slice(start, start + chunk)
            divergence, cross_entropy, grad_CV = _chunk_loss(
                (student_TD[part] @ student_head_VD.T).float(),
                (teacher_TE[part] @ teacher_head_VE.T).float(),
                label_T[part],
                temperature,
                ce_weight,
            )
            sums += torch.stack((divergence, cross_entropy)).double()
            grad_CV *= scale
            grad_CV = grad_CV.to(student_TD.dtype)
            if grad_student_TD is not None:
                grad_student_TD[part] = grad_CV @ student_head_VD
            if head is not None:
                head.add(start, grad_CV)
        grad_head_VD = None if head is None else head.sum_VD.to(student_head_VD.dtype)
        ctx.save_for_backward(grad_student_TD, grad_head_VD)
        divergence, cross_entropy = (sums * scale).float()
        loss = (1 - ce_weight) * temperature**2 * divergence + ce_weight * cross_entropy
        ctx.mark_non_differentiable(divergence, cross_entropy)
        return loss, divergence, cross_entropy

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_student_TD, grad_head_VD = ctx.saved_tensors
        given = grads[0]
        return (
            None if grad_student_TD is None else grad_student_TD * given,
            None if grad_head_VD is None else grad_head_VD * given,
            *(None,) * 8,
        )


class _HeadGradient:
    """The gradient of an output head, added up in float32 once for every `together` tokens."""

    def __init__(self, head_VD: torch.Tensor, student_TD: torch.Tensor, chunk: int, together: int):
        self.sum_VD = torch.zeros_like(head_VD, dtype=torch.float32)
        self._student_TD = student_TD
        room = min(together, len(student_TD))
        self._gathered_GV = student_TD.new_empty(room, len(head_VD)) if room > chunk else None
        self._filled = 0

    def add(self, start: int, grad_CV: torch.Tensor) -> None:
        """Gradients of the logits of the tokens from `start` on; the chunks come in order."""
        end = start + len(grad_CV)
        if self._gathered_GV is None:
            self.sum_VD += grad_CV.T @ self._student_TD[start:end]
            return
        self._gathered_GV[self._filled : self._filled + len(grad_CV)] = grad_CV
        self._filled += len(grad_CV)
        if self._filled == len(self._gathered_GV) or end == len(self._student_TD):
            grad_GV = self._gathered_GV[: self._filled]
            self.sum_VD += grad_GV.T @ self._student_TD[end - self._filled : end]
            self._filled = 0


def _chunk_loss(
    student_CV: torch.Tensor,
    teacher_CV: torch.Tensor,
    label_C: torch.Tensor,
    temperature: float,
    ce_weight: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sum of KL, sum of CE, and the gradient of (1-c) T^2 KL + c CE with respect to the student's
    logits. Works in place, on its arguments as well: five [C, V] tensors at most.
    """
    log_q1_CV = log_softmax(student_CV, dim=-1)
    cross_entropy = -log_q1_CV.gather(1, label_C[:, None]).sum()
    if temperature == 1.0:
        log_q_CV = log_q1_CV
    else:
        log_q_CV = log_softmax(student_CV.div_(temperature), dim=-1)
    # The gradient begins as c (q_1 - label) in the student's own memory.
    grad_CV = torch.exp(log_q1_CV, out=student_CV).mul_(ce_weight)
    minus_C = torch.full_like(label_C, -ce_weight, dtype=grad_CV.dtype)
    grad_CV.scatter_add_(1, label_C[:, None], minus_C[:, None])
    del log_q1_CV

    log_p_CV = log_softmax(teacher_CV.div_(temperature), dim=-1)
    p_CV = torch.exp(log_p_CV, out=teacher_CV)
    divergence = log_p_CV.sub_(log_q_CV).mul_(p_CV).sum()
    # dKL/dz = (q - p) / T
    grad_CV.add_(log_q_CV.exp_().sub_(p_CV), alpha=(1 - ce_weight) * temperature)
    return divergence, cross_entropy, grad_CV
