"""Contrastive losses between two views of the same things: what each pair's halves say of all others of the batch.

Each returns this process's part; the parts of all processes sum to the mean over the joined batch. Rows that only fill
up a part are no anchors and no candidates.

Shapes: N pairs of this process, M of all processes, E embedding width, A = 2N anchors, C = 2M candidates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.layers.ranks import gather_rows, own_rows

BASE_TEMPERATURE = 0.07  # of the published code of SupCon (Khosla et al. 2020), from which GAMa's loss is taken
_LEAST = 1e-6  # squared distance, under which the gradient of its root is cut off


@dataclass(frozen=True, slots=True)
class _Joined:
    """Both views' rows as anchors and candidates."""

    cosine_AC: Tensor
    pair_AC: Tensor  # bool: the candidate is the anchor's other half
    self_AC: Tensor  # bool: the candidate is the anchor itself
    other_view_AC: Tensor  # bool: of the view that the anchor is not of
    real_A: Tensor
    real_C: Tensor


def ntxent(a_NE: Tensor, b_NE: Tensor, real_N: Tensor, temperature: float = 0.1) -> Tensor:
    """NT-Xent as GAMa's published code has it: SimCLR's, the other half among the candidates, times temperature / 0.07.

    a_NE, b_NE: of unit norm. Both views are anchors, and candidates of each other and among themselves.
    """
    joined = _join(a_NE, b_NE, real_N)
    logits_AC = joined.cosine_AC / temperature
    among_AC = joined.real_C[None] & ~joined.self_AC
    loss_A = _log_sum(logits_AC, among_AC) - _of_pair(logits_AC, joined)
    return temperature / BASE_TEMPERATURE * _mean(loss_A, joined)


def image_video(a_NE: Tensor, b_NE: Tensor, real_N: Tensor, temperature: float = 0.1) -> Tensor:
    """GAMa's Eq. 1 as printed: the other half is not among the candidates, so that a loss can fall below 0.

    In a batch of one pair there are none, and the loss is 0.
    """
    joined = _join(a_NE, b_NE, real_N)
    logits_AC = joined.cosine_AC / temperature
    among_AC = joined.real_C[None] & ~joined.self_AC & ~joined.pair_AC
    loss_A = _log_sum(logits_AC, among_AC) - _of_pair(logits_AC, joined)
    return _mean(loss_A * among_AC.any(1), joined)


def margin_triplet(a_NE: Tensor, b_NE: Tensor, real_N: Tensor, margin: float = 1.0) -> Tensor:
    """Margin triplets (Balntas et al., BMVC 2016): mean over anchors of both views and all negatives of the other view.

    Euclidean distances of unit vectors. Which negatives GAMa's baseline takes is not said.
    """
    joined = _join(a_NE, b_NE, real_N)
    distance_AC = (2 - 2 * joined.cosine_AC).clamp(min=_LEAST).sqrt()
    negative_AC = joined.real_C[None] & joined.other_view_AC & ~joined.pair_AC
    hinge_AC = F.relu(margin + _of_pair(distance_AC, joined)[:, None] - distance_AC) * negative_AC
    return _mean(hinge_AC.sum(1) / negative_AC.sum(1).clamp(min=1), joined)


def _join(a_NE: Tensor, b_NE: Tensor, real_N: Tensor) -> _Joined:
    a_ME, b_ME, real_M = gather_rows(a_NE.float()), gather_rows(b_NE.float()), gather_rows(real_N)
    pairs = len(real_M)
    with torch.autocast(a_NE.device.type, enabled=False):
        cosine_AC = torch.cat([a_NE, b_NE]).float() @ torch.cat([a_ME, b_ME]).T
    row_N = own_rows(torch.arange(pairs, device=a_NE.device))
    place_A, place_C = torch.cat([row_N, row_N + pairs]), torch.arange(2 * pairs, device=a_NE.device)
    is_b_A, is_b_C = place_A >= pairs, place_C >= pairs
    return _Joined(
        cosine_AC=cosine_AC,
        pair_AC=place_C == ((place_A + pairs) % (2 * pairs))[:, None],
        self_AC=place_C == place_A[:, None],
        other_view_AC=is_b_A[:, None] != is_b_C,
        real_A=torch.cat([real_N, real_N]),
        real_C=torch.cat([real_M, real_M]),
    )


def _log_sum(logits_AC: Tensor, among_AC: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials over some candidates; 0 of none."""
    lowest = torch.finfo(logits_AC.dtype).min
    logits_AC = torch.where(among_AC, logits_AC, lowest)
    return torch.logsumexp(logits_AC, 1) * among_AC.any(1)


def _of_pair(value_AC: Tensor, joined: _Joined) -> Tensor:
    """What belongs to the anchor's other half: [A]."""
    return (value_AC * joined.pair_AC).sum(1)


def _mean(loss_A: Tensor, joined: _Joined) -> Tensor:
    """This process's part of the mean over all real anchors."""
    return (loss_A * joined.real_A).sum() / joined.real_C.sum().clamp(min=1)
