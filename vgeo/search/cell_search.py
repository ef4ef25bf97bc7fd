"""Exact search by cells: only the keys of cells that can hold an answer are looked at.

The k-th best score found in a query's most promising cell is a floor: a cell whose bound lies below it holds none of
the k best. All others are opened, so the answer is proven, and it is what `exact.top_k` gives, ties and all. Where
the floor would open many, the next most promising cells are opened first, which raises it. A query that would open too
many still is left to that search.

A softmax over the gallery needs all keys, but far ones hardly: cells are opened until those that are not hold together,
by their bounds, less than `FORGONE` of the best key's own probability. Where that takes too many, as with an
untrained model or a small scale, the query is left to the full search as well.

Shapes: N queries, G gallery keys, E embedding width, C cells, K answers a query, P pairs of a query and a cell (or of a
query and a key), n queries of a cell, c keys of a cell.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.geo.sphere import unit_vectors
from vgeo.search.cells import Cells
from vgeo.search.exact import Keys, Share, Spread, TopK, spread_of, top_k
from vgeo.search.radius import BINS, bin_of, half_radius_km, near_chord2
from vgeo.search.settle import in_order, scores_of, slack

_NEXT = 8  # cells are opened next, by promise, for a higher floor,
_MANY = 0.02  # where more of the keys than this would be opened
_TOO_MANY = 0.25  # of the gallery's keys: then one product of everything is as fast
FORGONE = 2.0**-22  # 2.4e-7: hardly ever does one of the six digits that are written change
_QUERIES = 1024  # at once


class Counts:
    """What searches came to."""

    def __init__(self) -> None:
        self.queries = 0
        self.opened = 0  # keys that were compared with a query, of all that were not left to the full search
        self.left = 0  # queries that were

    def add(self, opened_N: Tensor, left_N: Tensor) -> None:
        """Count some queries."""
        self.queries += len(left_N)
        self.opened += int(opened_N[~left_N].sum())
        self.left += int(left_N.sum())


class Total(NamedTuple):
    """What the softmax over the gallery says."""

    log_total_N: Tensor  # as in `exact.TopK`
    spread: Spread


class CellSearch:
    """Searches the keys of positions [G, 2] by cells, on the CPU.

    keys_GE: those that the cells were built from, in the gallery's order.
    """

    def __init__(self, cells: Cells, keys_GE: Keys, latlon_deg: NDArray[np.float64]) -> None:
        self.cells, self._keys_GE, self._latlon_deg = cells, keys_GE, latlon_deg
        self._points_G3 = torch.from_numpy(unit_vectors(latlon_deg))[cells.row_G]
        self._counts_C = cells.counts
        self._most = _TOO_MANY * len(cells.row_G)
        self.best, self.totals = Counts(), Counts()

    def __str__(self) -> str:
        parts = [f"{one.queries} {name}, {one.left}" for name, one in (("best", self.best), ("totals", self.totals))]
        return " and ".join(parts) + " were left to the search of all keys"

    @torch.no_grad()
    def top_k(self, queries_NE: Tensor, k: int) -> TopK:
        """What `exact.top_k` returns, without a total."""
        k = min(k, len(self.cells.row_G))
        parts = [self._top_k(part.float(), k) for part in queries_NE.split(_QUERIES)]
        return TopK(torch.cat([part.scores_NK for part in parts]), torch.cat([part.index_NK for part in parts]), None)

    def _top_k(self, queries_NE: Tensor, k: int) -> TopK:
        bounds_NC, margin_N = self.cells.bounds(queries_NE), slack(queries_NE)
        hope_NC = bounds_NC - torch.linalg.vector_norm(queries_NE, dim=1)[:, None] * self.cells.left_C
        first_N1 = hope_NC.masked_fill(self._counts_C < k, -torch.inf).argmax(1, keepdim=True)
        floor_N = torch.full((len(queries_NE),), torch.inf)  # float32 scores below it are not among the k best
        hits = []
        for cell, query_n, scores_nc in self._scored(queries_NE, torch.arange(len(queries_NE)), first_N1[:, 0]):
            if scores_nc.shape[1] >= k:
                floor_N[query_n] = scores_nc.topk(k, dim=1).values[:, -1] - 2 * margin_N[query_n]
                hits.append(self._hits(cell, query_n, scores_nc, floor_N))
        done_NC = torch.zeros_like(bounds_NC, dtype=torch.bool).scatter_(1, first_N1, True)
        open_NC = (bounds_NC >= (floor_N + margin_N)[:, None]) & ~done_NC
        hard_n = (open_NC.float() @ self._counts_C.float() > _MANY * len(self.cells.row_G)).nonzero()[:, 0]
        if len(hard_n):
            next_nC = hope_NC[hard_n].masked_fill_(~open_NC[hard_n], -torch.inf)
            hope_nM, cell_nM = next_nC.topk(min(_NEXT, len(self.cells)), dim=1)
            at_P, place_P = (hope_nM > -torch.inf).nonzero(as_tuple=True)  # fewer may be left to open
            query_P, cell_P = hard_n[at_P], cell_nM[at_P, place_P]
            done_NC[query_P, cell_P] = True
            hits += [self._hits(*one, floor_N) for one in self._scored(queries_NE, query_P, cell_P)]
            floor_N = torch.maximum(floor_N, self._kth(hits, k, len(queries_NE)) - 2 * margin_N)
            open_NC = (bounds_NC >= (floor_N + margin_N)[:, None]) & ~done_NC
        opened_N = (open_NC | done_NC).float() @ self._counts_C.float()
        left_N = ~(opened_N <= self._most) | floor_N.isinf() | floor_N.isnan()
        open_NC[left_N] = False
        query_P, cell_P = open_NC.nonzero(as_tuple=True)
        hits += [self._hits(*one, floor_N) for one in self._scored(queries_NE, query_P, cell_P)]
        self.best.add(opened_N, left_N)
        score_NK, row_NK = torch.empty(len(queries_NE), k), torch.empty(len(queries_NE), k, dtype=torch.int64)
        if bool(left_N.any()):
            score_NK[left_N], row_NK[left_N], _ = top_k(queries_NE[left_N], self._keys_GE, k)
        if not bool(left_N.all()):
            found = self._settled(queries_NE, k, margin_N, left_N, hits)
            score_NK[~left_N], row_NK[~left_N] = found
        return TopK(score_NK, row_NK, None)

    def _kth(self, hits: list[tuple[Tensor, Tensor, Tensor]], k: int, queries: int) -> Tensor:
        """The k-th best float32 score of each query [N] among its hits; -inf where there are fewer."""
        query_P, score_P, at_P = (torch.cat(parts) for parts in zip(*hits, strict=True))
        order, starts = _ranked(query_P, score_P, at_P, queries)
        enough_N = torch.bincount(query_P, minlength=queries) >= k
        kth_N = torch.full((queries,), -torch.inf)
        kth_N[enough_N] = score_P[order[starts[enough_N] + k - 1]]
        return kth_N

    def _hits(self, cell: int, query_n: Tensor, scores_nc: Tensor, floor_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, float32 score and position among the cells' keys of all that reach the floor."""
        at_n, at_c = (scores_nc >= floor_N[query_n, None]).nonzero(as_tuple=True)
        return query_n[at_n], scores_nc[at_n, at_c], at_c + int(self.cells.first[cell])

    def _settled(
        self, queries_NE: Tensor, k: int, margin_N: Tensor, left_N: Tensor, hits: list[tuple[Tensor, Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """The k best of the hits of each query that is not left, by their settled scores."""
        query_P, score_P, at_P = (torch.cat(parts) for parts in zip(*hits, strict=True))
        kth_N = self._kth(hits, k, len(queries_NE)).masked_fill_(left_N, torch.inf)
        kept_P = score_P >= (kth_N - 2 * margin_N)[query_P]
        query_P, at_P = query_P[kept_P], at_P[kept_P]
        score_P = scores_of(queries_NE, self.cells.keys_GE, query_P, at_P)
        row_P = self.cells.row_G[at_P]
        order, starts = _ranked(query_P, score_P, row_P, len(queries_NE))
        best_NK = order[starts[~left_N, None] + torch.arange(k)]
        return score_P[best_NK], row_P[best_NK]

    @torch.no_grad()
    def total(
        self, queries_NE: Tensor, best_N: Tensor, answers_deg: NDArray[np.float64], *, scale: float, within_km: float
    ) -> Total:
        """The log-sum-exp over the gallery, and how the probability spreads around each answer [N, 2].

        best_N: score of each query's best key. As `exact.top_k` and `exact.spread_of` say it, but for `FORGONE`.
        """
        n = len(queries_NE)
        bounds_NC = self.cells.bounds(queries_NE).double()
        log_NC, order_NC = (self._counts_C.log() + scale * (bounds_NC - best_N[:, None])).sort(1)
        forgone_NC = log_NC.exp_().cumsum(1)
        open_NC = torch.empty(n, len(self.cells), dtype=torch.bool).scatter_(1, order_NC, forgone_NC > FORGONE)
        opened_N = open_NC.double() @ self._counts_C.double()
        left_N = ~(opened_N <= self._most)
        open_NC[left_N] = False
        total_N, near_N, histogram_NB = self._sums(queries_NE, open_NC, best_N, answers_deg, scale, within_km)
        radius_N, further_N = half_radius_km(histogram_NB), histogram_NB.clone()
        further_N[:, 0] += FORGONE
        nearest_N = half_radius_km(further_N)
        further_N[:, 0] -= FORGONE
        further_N[:, -1] += FORGONE
        left_N |= half_radius_km(further_N) != nearest_N  # what is forgone could decide between two radii
        self.totals.add(opened_N, left_N)
        log_total_N = total_N.log() + scale * best_N.double()
        confidence_N = (near_N / total_N).clamp(max=1)
        if bool(left_N.any()):
            some_NE, some = queries_NE[left_N], answers_deg[left_N.numpy()]
            log_total = top_k(some_NE, self._keys_GE, 1, scale=scale).log_total_N
            assert log_total is not None
            log_total_N[left_N] = log_total
            share = Share(self._keys_GE, self._latlon_deg, scale, log_total)
            confidence_N[left_N], radius_N[left_N] = spread_of(some_NE, [share], some, within_km=within_km)
        return Total(log_total_N, Spread(confidence_N, radius_N))

    def _sums(
        self,
        queries_NE: Tensor,
        open_NC: Tensor,
        best_N: Tensor,
        answers_deg: NDArray[np.float64],
        scale: float,
        within_km: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum exp(scale * (score - best)) over the keys of open cells: all, near ones [N], and by radius [N, B]."""
        n, near2 = len(queries_NE), near_chord2(within_km)
        answers_N3 = torch.from_numpy(unit_vectors(answers_deg))
        total_N, near_N = torch.zeros(2, n, dtype=torch.float64)
        histogram_NB = torch.zeros(n, BINS, dtype=torch.float64)
        two = torch.full((), 2.0, dtype=torch.float64)
        for cell, query_n, scores_nc in self._scored(queries_NE, *open_NC.nonzero(as_tuple=True)):
            points_c3 = self._points_G3[self.cells.first[cell] : self.cells.first[cell + 1]]
            mass_nc = scores_nc.sub_(best_N[query_n, None]).mul_(scale).exp_().double()
            chord2_nc = torch.addmm(two, answers_N3[query_n], points_c3.T, alpha=-2)
            row_bins = BINS * torch.arange(len(query_n), dtype=torch.int32)[:, None]
            bins_nc = bin_of(chord2_nc.float()).add_(row_bins)
            counted = torch.bincount(bins_nc.ravel(), mass_nc.ravel(), len(query_n) * BINS)
            histogram_NB.index_add_(0, query_n, counted.view(-1, BINS))
            total_N.index_add_(0, query_n, mass_nc.sum(1))
            near_N.index_add_(0, query_n, mass_nc.mul_(chord2_nc <= near2).sum(1))
        return total_N, near_N, histogram_NB

    def _scored(self, queries_NE: Tensor, query_P: Tensor, cell_P: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield each cell that a query opens, these queries [n], and their scores of its keys [n, c]."""
        if not len(cell_P):
            return
        by_cell = cell_P.argsort(stable=True)
        query_P, ends = query_P[by_cell], torch.bincount(cell_P, minlength=len(self.cells)).cumsum(0).tolist()
        before = 0
        for cell, end in enumerate(ends):
            if end > before:
                query_n, before = query_P[before:end], end
                keys_cE = self.cells.keys_GE[self.cells.first[cell] : self.cells.first[cell + 1]]
                yield cell, query_n, queries_NE[query_n] @ keys_cE.T


def _ranked(query_P: Tensor, score_P: Tensor, row_P: Tensor, queries: int) -> tuple[Tensor, Tensor]:
    """Pairs in order (see `in_order`), and where in it each query's begin [N]."""
    counts_N = torch.bincount(query_P, minlength=queries)
    return in_order(query_P, score_P, row_P), counts_N.cumsum(0) - counts_N
