"""What a Classifier says of whole clips, from what it says of their windows.

Shapes: W windows, N clips, L levels, C classes of a level.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vgeo.methods.base import Classifier


class Verdict(NamedTuple):
    """Clips, or windows, placed."""

    answer_NL: Tensor  # class at each level
    scores: tuple[Tensor, ...]  # of the levels, each [N, C]; rows sum to 1


def softmaxes(logits: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Turn logits of the levels into probabilities, in float32."""
    return tuple(torch.softmax(x.float(), -1) for x in logits)


def verdict(method: Classifier, probability: tuple[Tensor, ...]) -> Verdict:
    """Place what has these probabilities, [N, C] of each level."""
    scores = method.decide(probability)
    # Scores of several levels are made probabilities again, which changes no order.
    shares = tuple(score_NC / score_NC.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
                   for score_NC in scores)  # fmt: skip
    return Verdict(method.answers(scores), shares)


def mean_of(values: tuple[Tensor, ...], clip_W: Tensor, clips: int) -> tuple[Tensor, ...]:
    """Average windows' probabilities over the clips they are of: each [W, C] -> [N, C]."""
    count_N = torch.bincount(clip_W, minlength=clips).clamp(min=1)
    return tuple(
        torch.zeros(clips, x.shape[1], device=x.device, dtype=x.dtype).index_add_(0, clip_W, x) / count_N[:, None]
        for x in values
    )
