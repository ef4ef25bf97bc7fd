"""Exact search: the best keys of a gallery for many queries, and how the probability spreads around an answer.

Everything is float32 and nothing is approximated: keys of places 100 m apart differ by 0.0005 in cosine, and any lossy
type or graph index gives other answers there. Keys are read in chunks, so they may be a memory-mapped array that is
larger than memory; each chunk serves all queries before the next is read.

Shapes: N queries, G gallery keys, E embedding width, K answers a query; n and c a chunk of queries and of keys.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.geo.sphere import EARTH_RADIUS_KM, unit_vectors

Keys = Tensor | NDArray[np.float32]

_KEY_CHUNK = 32_768
_QUERY_CHUNK = 1024  # 1024 x 32768 scores: 128 MiB
_BLOCK = 64  # scores whose maximum stands for them in the first of two selections

# Squared chords on the unit sphere are binned by the leading bits of their float32: exponent and 4 bits of mantissa.
_BIN_SHIFT = 23 - 4
_CHORD2_FLOOR = 2.0**-47  # 0.5 m; below it rounding decides, and a distance counts as zero


class TopK(NamedTuple):
    """The best keys of each query, best first; of equal ones, the lowest row first."""

    scores_NK: Tensor  # cosine (dot product), float32
    index_NK: Tensor  # row of the key, int64
    log_total_N: Tensor | None  # log of the sum over all keys of exp(scale * score), float64; None without a scale


@torch.no_grad()
def top_k(queries_NE: Tensor, keys_GE: Keys, k: int, *, scale: float | None = None, chunk: int = _KEY_CHUNK) -> TopK:
    """Return the k best keys of each query by dot product; all of them when there are fewer than k.

    keys_GE: float32, a tensor or a (memory-mapped) array; moved to the queries' device chunk by chunk.
    scale: also return the log-sum-exp over the whole gallery, which makes exp(scale * score - log_total) a probability.
    Raises ValueError for an empty gallery or k < 1.
    """
    if k < 1 or len(keys_GE) == 0:
        raise ValueError(f"top {k} of {len(keys_GE)} keys: both must be at least 1")
    n_queries, device = len(queries_NE), queries_NE.device
    k = min(k, len(keys_GE))
    best = torch.full((n_queries, k), -torch.inf, device=device)
    index = torch.zeros((n_queries, k), dtype=torch.int64, device=device)
    log_total = torch.full((n_queries,), -torch.inf, dtype=torch.float64, device=device)
    for first, rows, scores_nc in _scored(queries_NE, keys_GE, chunk, _QUERY_CHUNK):
        found, at = _select(scores_nc, k)
        # What was found before lies on lower rows and stands first, and the sort is stable: ties keep the lowest row.
        merged, order = torch.cat([best[rows], found], 1).sort(dim=1, descending=True, stable=True)
        best[rows] = merged[:, :k]
        index[rows] = torch.cat([index[rows], at + first], 1).gather(1, order[:, :k])
        if scale is not None:
            log_total[rows] = torch.logaddexp(log_total[rows], _log_sum_exp(scores_nc, scale))
    return TopK(best, index, None if scale is None else log_total)


class Spread(NamedTuple):
    """How sure an answer is."""

    confidence_N: Tensor  # probability within so many km of the answer, float64
    radius_km_N: Tensor  # radius around the answer that holds half of the probability, float64


class Share(NamedTuple):
    """Places among which a part of each query's probability is shared out, by a softmax over their scores."""

    keys_GE: Keys
    latlon_deg: NDArray[np.float64]  # [G, 2]
    scale: float
    log_total_N: Tensor  # a place's probability is exp(scale * score - log_total), float64
    left_G: NDArray[np.bool_] | None = None  # False where the place's probability is shared out elsewhere


def probability_mass(
    queries_NE: Tensor,
    keys_GE: Keys,
    latlon_deg: NDArray[np.float64],
    answers: Tensor,
    log_total_N: Tensor,
    *,
    scale: float,
    within_km: float = 1.0,
    chunk: int = 8192,
) -> Spread:
    """Return the gallery-wide softmax mass near each answer, and the radius that holds half of it; see `spread_of`.

    latlon_deg: [G, 2] positions of the keys. answers: [N] row of each query's answer. log_total_N: from `top_k`.
    """
    share = Share(keys_GE, latlon_deg, scale, log_total_N)
    return spread_of(queries_NE, [share], latlon_deg[answers.cpu().numpy()], within_km=within_km, chunk=chunk)


@torch.no_grad()
def spread_of(
    queries_NE: Tensor,
    shares: Sequence[Share],
    answers_deg: NDArray[np.float64],
    *,
    within_km: float = 1.0,
    chunk: int = 8192,
) -> Spread:
    """Return how much of the probability, over all shares, lies near each answer [N, 2], and the radius of half of it.

    Distances are great circles from float64 chords. The radius comes from a histogram of 16 bins an octave of squared
    chord: it is the upper edge of the bin, whose chord is at most 3.1 % too long (nearly so its arc, but for places
    near the antipode), and 0 where half of the mass lies within 0.5 m.
    """
    n_queries, device = len(queries_NE), queries_NE.device
    answers_N3 = torch.from_numpy(unit_vectors(answers_deg)).to(device)
    near2 = (2 * np.sin(min(within_km / EARTH_RADIUS_KM, np.pi) / 2)) ** 2
    confidence = torch.zeros(n_queries, dtype=torch.float64, device=device)
    two = torch.full((), 2.0, dtype=torch.float64, device=device)
    histogram = torch.zeros(n_queries, _BINS, dtype=torch.float64, device=device)
    for share in shares:
        points_G3 = unit_vectors(share.latlon_deg)
        for first, rows, scores_nc in _scored(queries_NE, share.keys_GE, chunk, 256):
            n, width = scores_nc.shape
            points_c3 = torch.from_numpy(points_G3[first : first + width]).to(device)
            mass_nc = scores_nc.mul_(share.scale).sub_(share.log_total_N[rows, None].float()).exp_()
            if share.left_G is not None:
                mass_nc.mul_(torch.from_numpy(share.left_G[first : first + width]).to(device))
            chord2_nc = torch.addmm(two, answers_N3[rows], points_c3.T, alpha=-2)
            row_bins = _BINS * torch.arange(n, device=device, dtype=torch.int32)[:, None]
            bins_nc = _bin(chord2_nc.float()).add_(row_bins)
            histogram[rows] += torch.bincount(bins_nc.ravel(), mass_nc.ravel(), n * _BINS).reshape(n, _BINS)
            confidence[rows] += mass_nc.mul_(chord2_nc <= near2).sum(1)
    cumulative = histogram.cumsum(1)
    half = (cumulative < cumulative[:, -1:] / 2).sum(1)
    radius = EARTH_RADIUS_KM * 2 * torch.asin((_upper_edge2(half).sqrt() / 2).clamp(max=1))
    return Spread(confidence.clamp(max=1), torch.where(half == 0, 0.0, radius))


def _scored(queries_NE: Tensor, keys_GE: Keys, chunk: int, queries_chunk: int) -> Iterator[tuple[int, slice, Tensor]]:
    """Yield (first key's row, queries' rows, scores [n, c] float32) for every pair of chunks."""
    device = queries_NE.device
    queries_NE = queries_NE.float()
    with torch.autocast(device.type, enabled=False):
        for first in range(0, len(keys_GE), chunk):
            part = keys_GE[first : first + chunk]
            keys_cE = torch.from_numpy(np.array(part, np.float32)) if isinstance(part, np.ndarray) else part.float()
            keys_Ec = keys_cE.to(device).T
            for start in range(0, len(queries_NE), queries_chunk):
                rows = slice(start, min(start + queries_chunk, len(queries_NE)))
                yield first, rows, queries_NE[rows] @ keys_Ec


def _select(scores_nc: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k best scores of each row and where they stand, ties by the lowest place.

    Two steps, exact: the k best scores lie within the k blocks of highest maximum (a score outside them is beaten, or
    equalled from a lower place, by those k maxima).
    """
    n, c = scores_nc.shape
    if c < 4 * k * _BLOCK:
        return _stable_top_k(scores_nc, min(k, c))
    padded = F.pad(scores_nc, (0, -c % _BLOCK), value=-torch.inf) if c % _BLOCK else scores_nc
    blocks_nbB = padded.reshape(n, -1, _BLOCK)
    _, chosen_nk = _stable_top_k(blocks_nbB.amax(2), k)
    chosen_nk = chosen_nk.sort(1).values  # so that places stay in ascending order
    candidates = blocks_nbB.gather(1, chosen_nk[:, :, None].expand(-1, -1, _BLOCK)).reshape(n, -1)
    scores, at = _stable_top_k(candidates, k)
    return scores, chosen_nk.gather(1, at // _BLOCK) * _BLOCK + at % _BLOCK


def _stable_top_k(values_nc: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`torch.topk`, but of equal values the lowest places win and come first."""
    c = values_nc.shape[1]
    values, at = values_nc.topk(min(k + 1, c), dim=1)
    if c > k:
        tied = (values[:, k] == values[:, k - 1]).nonzero()[:, 0]
        values, at = values[:, :k], at[:, :k]
        if len(tied):  # equal values across the border: topk may have kept any of them
            exact = values_nc[tied].sort(dim=1, descending=True, stable=True)
            values[tied], at[tied] = exact.values[:, :k], exact.indices[:, :k]
    at, order = at.sort(1)
    values, by_value = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, at.gather(1, by_value)


def _log_sum_exp(scores_nc: Tensor, scale: float) -> Tensor:
    """log of the sum of exp(scale * score) over a chunk: [n] float64."""
    return torch.logsumexp(scale * scores_nc, 1).double()


def _bin(chord2: Tensor) -> Tensor:
    """Bin of a squared chord, ascending with it; 0 for everything below the floor."""
    return chord2.clamp(min=_CHORD2_FLOOR).view(torch.int32).bitwise_right_shift_(_BIN_SHIFT).sub_(_BIN_OFFSET)


def _upper_edge2(bins: Tensor) -> Tensor:
    """Squared chord at which the next bin begins, float64."""
    return ((bins + _BIN_OFFSET + 1) << _BIN_SHIFT).int().view(torch.float32).double()


def _bits(chord2: float) -> int:
    return int(np.float32(chord2).view(np.int32)) >> _BIN_SHIFT


_BIN_OFFSET = _bits(_CHORD2_FLOOR)
_BINS = _bits(4.0) - _BIN_OFFSET + 2  # up to the antipode, whose squared chord may round above 4
