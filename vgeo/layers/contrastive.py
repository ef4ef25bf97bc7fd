"""Matching frames with positions: which positions of a batch a frame should find, and the cross-entropy over them.

Shapes: N rows (frames) of this process, C candidates (the batch's positions over all processes, and a queue),
E embedding width.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.geo.sphere import EARTH_RADIUS_KM

Positives = Literal["identity", "equal"]


def match_targets(
    latlon_N2: Tensor, candidates_C2: Tensor, *, own: Tensor, positives: Positives = "identity", radius_km: float = 0.0
) -> Tensor:
    """What each frame should say of each candidate: [N, C] float32 whose rows sum to one.

    own: [N] each frame's own place among the candidates. positives: "identity" targets it alone, "equal" shares the
    target among all candidates at the same coordinates. radius_km > 0: a Gaussian of that radius by true distance.
    """
    if radius_km:
        return torch.softmax(squared_chords_km2(latlon_N2, candidates_C2) * (-0.5 / radius_km**2), 1)
    if positives == "equal":
        equal_NC = (latlon_N2[:, None] == candidates_C2[None]).all(-1).float()
        return equal_NC / equal_NC.sum(1, keepdim=True)
    return F.one_hot(own, len(candidates_C2)).float()


def cross_entropy_sum(logits_NC: Tensor, target_NC: Tensor, real_N: Tensor, real_C: Tensor) -> Tensor:
    """Sum over real rows of the cross-entropy with soft targets; candidates that are padding take no part.

    Nothing here depends on how many are real, so no device is waited for.
    """
    logits_NC = logits_NC.float().masked_fill(~real_C[None], -torch.inf)
    target_NC = target_NC * real_C[None]
    target_NC = target_NC / target_NC.sum(1, keepdim=True).clamp(min=1e-12)
    log_share_NC = torch.log_softmax(logits_NC, 1).masked_fill(~real_C[None], 0.0)
    return -((target_NC * log_share_NC).sum(1) * real_N).sum()


def squared_chords_km2(a_N2: Tensor, b_C2: Tensor) -> Tensor:
    """Squared chord distances, [N, C] float32: exact enough for neighbours, and growing as the squared arc does there.

    The difference is taken in float64 (neighbours a metre apart differ by 1e-14 of the radius squared), its result is
    small enough for float32.
    """

    def vectors(latlon: Tensor) -> Tensor:
        lat, lon = torch.deg2rad(latlon.double()).unbind(-1)
        return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)

    with torch.autocast(a_N2.device.type, enabled=False):
        return (2 - 2 * (vectors(a_N2) @ vectors(b_C2).T)).clamp(min=0).float() * EARTH_RADIUS_KM**2
