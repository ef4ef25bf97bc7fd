"""Exact search: the best keys of a gallery for many queries, and how the probability spreads around an answer.

Everything is float32 and nothing is approximated: keys of places 100 m apart differ by 0.0005 in cosine, and any lossy
type or graph index gives other answers there. What is best is settled in float64; see `settle`. Keys are read in
chunks, so they may be a memory-mapped array that is larger than memory; each chunk serves all queries before the next
is read.

Shapes: N queries, G gallery keys, E embedding width, K answers a query; n and c a chunk of queries and of keys.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.geo.sphere import unit_vectors
from vgeo.search.radius import BINS, bin_of, half_radius_km, near_chord2
from vgeo.search.settle import Keys, in_order, scores_of, slack

_KEY_CHUNK = 32_768
_QUERY_CHUNK = 1024  # 1024 x 32768 scores: 128 MiB
_MORE = 8  # candidates at least, beside those asked for, that float64 decides among
_BLOCK = 64  # scores whose maximum stands for them in the first of two selections


class TopK(NamedTuple):
    """The best keys of each query, best first; of equal ones, the lowest row first."""

    scores_NK: Tensor  # cosine (dot product), float32
    index_NK: Tensor  # row of the key, int64
    log_total_N: Tensor | None  # log of the sum over all keys of exp(scale * score), float64; None without a scale


@torch.no_grad()
def top_k(queries_NE: Tensor, keys_GE: Keys, k: int, *, scale: float | None = None, chunk: int = _KEY_CHUNK) -> TopK:
    """Return the k best keys of each query by dot product; all of them when there are fewer than k.

    keys_GE: float32, a tensor or a (memory-mapped) array; moved to the queries' device chunk by chunk. Normalised: the
    proof that nothing else is among the best, up to rounding, takes lengths up to 1.02.
    scale: also return the log-sum-exp over the whole gallery, which makes exp(scale * score - log_total) a probability.
    Raises ValueError for an empty gallery or k < 1.
    """
    if k < 1 or len(keys_GE) == 0:
        raise ValueError(f"top {k} of {len(keys_GE)} keys: both must be at least 1")
    n_queries, device = len(queries_NE), queries_NE.device
    k = min(k, len(keys_GE))
    wide = min(k + max(_MORE, k // 4), len(keys_GE))
    best = torch.full((n_queries, wide), -torch.inf, device=device)
    index = torch.zeros((n_queries, wide), dtype=torch.int64, device=device)
    log_total = torch.full((n_queries,), -torch.inf, dtype=torch.float64, device=device)
    for first, rows, scores_nc in _scored(queries_NE, keys_GE, chunk, _QUERY_CHUNK):
        _merge(best, index, rows, scores_nc, first)
        if scale is not None:
            log_total[rows] = torch.logaddexp(log_total[rows], _log_sum_exp(scores_nc, scale))
    scores_NK, index_NK, least_N = _settled(queries_NE, keys_GE, index, k)
    if wide < len(keys_GE):  # what is not among the candidates scores at most as the last of them, but for rounding
        reach_N = best[:, -1] + slack(queries_NE)
        unsure = (~(least_N > reach_N)).nonzero()[:, 0]
        if len(unsure):
            scores_NK[unsure], index_NK[unsure] = _in_float64(queries_NE[unsure], keys_GE, k, chunk)
    return TopK(scores_NK, index_NK, None if scale is None else log_total)


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
    near2 = near_chord2(within_km)
    confidence = torch.zeros(n_queries, dtype=torch.float64, device=device)
    two = torch.full((), 2.0, dtype=torch.float64, device=device)
    histogram = torch.zeros(n_queries, BINS, dtype=torch.float64, device=device)
    for share in shares:
        points_G3 = unit_vectors(share.latlon_deg)
        for first, rows, scores_nc in _scored(queries_NE, share.keys_GE, chunk, 256):
            n, width = scores_nc.shape
            points_c3 = torch.from_numpy(points_G3[first : first + width]).to(device)
            mass_nc = scores_nc.mul_(share.scale).sub_(share.log_total_N[rows, None].float()).exp_()
            if share.left_G is not None:
                mass_nc.mul_(torch.from_numpy(share.left_G[first : first + width]).to(device))
            chord2_nc = torch.addmm(two, answers_N3[rows], points_c3.T, alpha=-2)
            row_bins = BINS * torch.arange(n, device=device, dtype=torch.int32)[:, None]
            bins_nc = bin_of(chord2_nc.float()).add_(row_bins)
            histogram[rows] += torch.bincount(bins_nc.ravel(), mass_nc.ravel(), n * BINS).reshape(n, BINS)
            confidence[rows] += mass_nc.mul_(chord2_nc <= near2).sum(1)
    return Spread(confidence.clamp(max=1), half_radius_km(histogram))


def _scored(
    queries_NE: Tensor, keys_GE: Keys, chunk: int, queries_chunk: int, dtype: torch.dtype = torch.float32
) -> Iterator[tuple[int, slice, Tensor]]:
    """Yield (first key's row, queries' rows, scores [n, c]) for every pair of chunks."""
    device = queries_NE.device
    queries_NE = queries_NE.to(dtype)
    with torch.autocast(device.type, enabled=False):
        for first in range(0, len(keys_GE), chunk):
            part = keys_GE[first : first + chunk]
            keys_cE = torch.from_numpy(np.array(part, np.float32)) if isinstance(part, np.ndarray) else part.float()
            keys_Ec = keys_cE.to(device, dtype).T
            for start in range(0, len(queries_NE), queries_chunk):
                rows = slice(start, min(start + queries_chunk, len(queries_NE)))
                yield first, rows, queries_NE[rows] @ keys_Ec


def _merge(best_NK: Tensor, index_NK: Tensor, rows: slice, scores_nc: Tensor, first: int) -> None:
    """Take the best of a chunk of keys, the first of which is on row `first`, among the best of some queries."""
    k = best_NK.shape[1]
    found, at = _select(scores_nc, k)
    # What was found before lies on lower rows and stands first, and the sort is stable: ties keep the lowest row.
    merged, order = torch.cat([best_NK[rows], found], 1).sort(dim=1, descending=True, stable=True)
    best_NK[rows] = merged[:, :k]
    index_NK[rows] = torch.cat([index_NK[rows], at + first], 1).gather(1, order[:, :k])


def _settled(queries_NE: Tensor, keys_GE: Keys, index_NM: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k best of the candidates by their settled scores: scores, rows [N, k], and the least of these scores [N]."""
    n, m = index_NM.shape
    query_P = torch.arange(n, device=index_NM.device).repeat_interleave(m)
    score_P = scores_of(queries_NE, keys_GE, query_P, index_NM.ravel())
    order = in_order(query_P, score_P, index_NM.ravel())
    score_NK, row_NK = (values[order].view(n, m)[:, :k] for values in (score_P, index_NM.ravel()))
    return score_NK, row_NK, score_NK[:, -1]


def _in_float64(queries_NE: Tensor, keys_GE: Keys, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    """What `top_k` finds where float32 cannot tell candidates from the rest: many keys are nearly alike."""
    n, device = len(queries_NE), queries_NE.device
    best = torch.full((n, k), -torch.inf, device=device)
    index = torch.zeros((n, k), dtype=torch.int64, device=device)
    for first, rows, scores_nc in _scored(queries_NE, keys_GE, chunk, _QUERY_CHUNK, torch.float64):
        _merge(best, index, rows, scores_nc.float(), first)
    return best, index


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
