"""How far from an answer half of the probability lies, from a histogram over distances.

Squared chords on the unit sphere are binned by the leading bits of their float32, exponent and 4 bits of mantissa: 16
bins an octave, whose edges are at most 3.1 % of a chord apart.
"""

import numpy as np
import torch
from torch import Tensor

from vgeo.geo.sphere import EARTH_RADIUS_KM

_SHIFT = 23 - 4
_CHORD2_FLOOR = 2.0**-47  # 0.5 m; below it rounding decides, and a distance counts as zero


def bin_of(chord2: Tensor) -> Tensor:
    """Bin of a squared chord (float32, which is overwritten), ascending with it; 0 for everything below the floor."""
    return chord2.clamp(min=_CHORD2_FLOOR).view(torch.int32).bitwise_right_shift_(_SHIFT).sub_(_OFFSET)


def near_chord2(within_km: float) -> float:
    """The squared chord of so many kilometres along the sphere."""
    return float((2 * np.sin(min(within_km / EARTH_RADIUS_KM, np.pi) / 2)) ** 2)


def half_radius_km(histogram_NB: Tensor) -> Tensor:
    """The radius that holds half of each histogram [N], the upper edge of its bin; 0 for the first bin."""
    cumulative_NB = histogram_NB.cumsum(1)
    half_N = (cumulative_NB < cumulative_NB[:, -1:] / 2).sum(1)
    edge2_N = ((half_N + _OFFSET + 1) << _SHIFT).int().view(torch.float32).double()
    radius_N = EARTH_RADIUS_KM * 2 * torch.asin((edge2_N.sqrt() / 2).clamp(max=1))
    return torch.where(half_N == 0, 0.0, radius_N)


def _bits(chord2: float) -> int:
    return int(np.float32(chord2).view(np.int32)) >> _SHIFT


_OFFSET = _bits(_CHORD2_FLOOR)
BINS = _bits(4.0) - _OFFSET + 2  # up to the antipode, whose squared chord may round above 4
