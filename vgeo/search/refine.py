"""Search that refines: the best places of a coarse gallery are divided again and again, down to a wanted spacing.

Each step keeps the best places of every frame, cuts the surroundings of those into finer ones, and scores these with
keys as smooth as their spacing (a key that tells places 10 m apart says nothing of one 500 m away). The fine gallery
is never held: only those of its cells are made that some frame's best places lead to. All frames that are searched
for together look at the same cells, each of which is embedded once.

Probability is handed down. The places of the gallery share it out by a softmax over their scores; what those have
together that are divided is shared out again, by a softmax over the scores of all the finer ones, and so on. What is
not divided keeps its own. So it is 1 in all, and were everything divided, it would be that of the full fine gallery.
What was left undivided lies there as softly as coarse keys are trained to see it, so the radius that holds half of the
probability comes out wider than in the full fine gallery: 131 m against 62 m in the one case that was measured.

Shapes: N queries, G gallery places, E embedding width, K answers a query, C cells.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.geo.lattice import Lattice
from vgeo.geo.sphere import EARTH_RADIUS_KM, unit_vectors
from vgeo.search.exact import Keys, Share, Spread, TopK, spread_of, top_k

Floats = NDArray[np.float64]
Embed = Callable[[Floats, int], Tensor]  # positions [C, 2] and a level -> keys [C, E]

BEAM = 16  # places that each step keeps of every frame; with 4, more depends on how well the levels fit
_FACTOR = 4.0  # a step's spacing is about so many times finer
_TOGETHER = 64  # queries that are searched for together; at worst, all far apart, 64 x 32 x 150 keys of 2 KiB: 0.6 GB
_SAMPLE = 256


class Step(NamedTuple):
    """One division: into which cells, and with keys of which level they are scored."""

    lattice: Lattice
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a gallery is divided."""

    spacing_km: float  # of the gallery
    level: int  # whose keys it is searched with
    steps: tuple[Step, ...]

    @property
    def reach_km(self) -> float:
        """How far from a place of the gallery the first cells lie: half a diagonal of either, so none is left out."""
        return (self.spacing_km + self.steps[0].lattice.spacing_km) / math.sqrt(2)


def plan(spacing_km: float, refine_km: float, radii_km: Sequence[float]) -> Plan:
    """Divide from the gallery's spacing to the wanted one in steps of equal ratio, about 4.

    radii_km: of the levels, falling. Raises ValueError where there is nothing to divide.
    """
    if not refine_km < spacing_km:
        raise ValueError(f"places {spacing_km:g} km apart need no refinement to {refine_km:g} km")
    count = max(1, round(math.log(spacing_km / refine_km, _FACTOR)))
    spacings = [refine_km * (spacing_km / refine_km) ** (left / count) for left in reversed(range(count))]
    steps = tuple(Step(Lattice(one), fitting_level(one, radii_km)) for one in spacings)
    return Plan(spacing_km=spacing_km, level=fitting_level(spacing_km, radii_km), steps=steps)


def fitting_level(spacing_km: float, radii_km: Sequence[float]) -> int:
    """The level whose radius is nearest to a spacing, by their ratio; the coarser one of two."""
    return min(range(len(radii_km)), key=lambda level: abs(math.log(radii_km[level] / spacing_km)))


def typical_spacing_km(latlon_deg: Floats, nominal_km: float | None = None) -> float | None:
    """How far apart the distinct positions [G, 2] are: the median distance to the fourth nearest, of some of them.

    In a grid that is the longer side of its cells. nominal_km: what a grid says of itself. Rounding the number of its
    rows stretches them up to 2.5 times, and what is further away is another region; a point that is alone in its own
    stands for up to 1.5 times as much. None when fewer than five positions tell nothing and there is no nominal one.
    """
    if len(latlon_deg) < 5 and nominal_km is None:
        return None
    points_G3 = torch.from_numpy(unit_vectors(latlon_deg))
    some = torch.from_numpy(np.random.default_rng(0).permutation(len(latlon_deg))[:_SAMPLE])
    cosine = torch.empty(len(some), 0, dtype=torch.float64)
    for part_c3 in points_G3.split(2**16):
        cosine = torch.cat([cosine, points_G3[some] @ part_c3.T], 1)
        cosine = cosine.topk(min(5, cosine.shape[1]), dim=1).values  # its own, and four more
    nearest_km = EARTH_RADIUS_KM * (2 - 2 * cosine[:, 1:].clamp(max=1)).sqrt().numpy()
    if nominal_km is not None:
        alone_km = np.full((len(some), 1), 1.5 * nominal_km)
        near_km = np.where(nearest_km <= 2.5 * nominal_km, nearest_km, 0.0)
        nearest_km = np.where(near_km.any(1, keepdims=True), near_km, alone_km) if nearest_km.size else alone_km
    return float(np.median(nearest_km.max(1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """What a refined search finds."""

    candidates_deg: Floats  # [N, K, 2] cells of the finest lattice, best first
    probability_NK: Floats
    spread: Spread
    index_NK: NDArray[np.int64]  # the best rows of the gallery itself, before anything was divided
    row_probability_NK: Floats


class RefinedSearch:
    """Searches a coarse gallery and what it is divided into.

    keys_GE: of the gallery's distinct places, at `plan.level`. scales: of each level, see `exact.top_k`.
    beam: places that each step keeps of every frame.
    """

    def __init__(
        self, keys_GE: Keys, latlon_deg: Floats, embed: Embed, scales: Sequence[float], plan: Plan, beam: int = BEAM
    ) -> None:
        self.keys_GE, self.latlon_deg, self.plan, self.beam = keys_GE, latlon_deg, plan, beam
        self._embed, self._scales = embed, scales

    def best(self, queries_NE: Tensor) -> Floats:
        """The best position of each query [N, 2]."""
        found = (self._divide(part, None, 1) for part in queries_NE.split(_TOGETHER))
        return np.concatenate([_positions(top, shares[-1])[:, 0] for _, top, shares in found])

    def __call__(
        self,
        queries_NE: Tensor,
        k: int,
        *,
        guides_NE: Tensor | None = None,
        rows: int = 1,
        within_km: float = 1.0,
    ) -> Refined:
        """Return the k best cells of each query, and the `rows` best rows of the gallery.

        guides_NE: other queries whose best places are divided as well. A query that was made to resemble a place's
        ordinary key is nearly deaf at coarse levels (their cosine to it is 0.05 to 0.4); the frame's own leads there.
        """
        parts = queries_NE.split(_TOGETHER)
        guides = [None] * len(parts) if guides_NE is None else guides_NE.split(_TOGETHER)
        found = [self._answer(part, guide, k, rows, within_km) for part, guide in zip(parts, guides, strict=True)]
        k = min(one.candidates_deg.shape[1] for one in found)
        return Refined(
            candidates_deg=np.concatenate([one.candidates_deg[:, :k] for one in found]),
            probability_NK=np.concatenate([one.probability_NK[:, :k] for one in found]),
            spread=Spread(*(torch.cat(parts) for parts in zip(*(one.spread for one in found), strict=True))),
            index_NK=np.concatenate([one.index_NK for one in found]),
            row_probability_NK=np.concatenate([one.row_probability_NK for one in found]),
        )

    def _answer(self, queries_NE: Tensor, guides_NE: Tensor | None, k: int, rows: int, within_km: float) -> Refined:
        coarse, top, shares = self._divide(queries_NE, guides_NE, k, rows)
        candidates_deg = _positions(top, shares[-1])
        return Refined(
            candidates_deg=candidates_deg,
            probability_NK=_probability(top, shares[-1]),
            spread=spread_of(queries_NE, shares, candidates_deg[:, 0], within_km=within_km),
            index_NK=coarse.index_NK[:, :rows].cpu().numpy(),
            row_probability_NK=_probability(coarse, shares[0])[:, :rows],
        )

    @torch.no_grad()
    def _divide(
        self, queries_NE: Tensor, guides_NE: Tensor | None, k: int, rows: int = 1
    ) -> tuple[TopK, TopK, list[Share]]:
        """Go down all steps: the best rows of the gallery, the k best of the finest cells, where the probability is."""
        scale = self._scales[self.plan.level]
        coarse = top = top_k(queries_NE, self.keys_GE, max(self.beam, rows), scale=scale)
        share = Share(self.keys_GE, self.latlon_deg, scale, _total(top))
        shares, cells, before = [], None, None
        for number, (lattice, level) in enumerate(self.plan.steps, 1):
            kept = np.unique(top.index_NK[:, : self.beam].cpu().numpy())
            if guides_NE is not None:
                kept = np.union1d(kept, top_k(guides_NE, share.keys_GE, self.beam).index_NK.cpu().numpy())
            left = np.ones(len(share.latlon_deg), bool)
            left[kept] = False
            shares.append(share._replace(left_G=left))
            log_mass_N = _log_mass(queries_NE, share, kept)
            if cells is None or before is None:
                cells = lattice.around(self.latlon_deg[kept], self.plan.reach_km)
            else:
                cells = lattice.within(before, cells[kept])
            before, scale, latlon = lattice, self._scales[level], lattice.latlon_deg(cells)
            keys_CE = self._embed(latlon, level)
            top = top_k(queries_NE, keys_CE, k if number == len(self.plan.steps) else self.beam, scale=scale)
            share = Share(keys_CE, latlon, scale, _total(top) - log_mass_N)
        return coarse, top, [*shares, share]


def _positions(top: TopK, share: Share) -> Floats:
    return share.latlon_deg[top.index_NK.cpu().numpy()]


def _total(top: TopK) -> Tensor:
    assert top.log_total_N is not None
    return top.log_total_N


def _log_mass(queries_NE: Tensor, share: Share, kept: NDArray[np.int64]) -> Tensor:
    """Log of the probability that the kept places have together: [N] float64."""
    part = share.keys_GE[kept]
    keys_CE = torch.from_numpy(part) if isinstance(part, np.ndarray) else part
    scores_NC = (queries_NE @ keys_CE.to(queries_NE).T).double()
    return torch.logsumexp(share.scale * scores_NC - share.log_total_N[:, None], 1)


def _probability(top: TopK, share: Share) -> Floats:
    log_NK = share.scale * top.scores_NK.double() - share.log_total_N[:, None]
    return np.asarray(log_NK.exp().clamp(max=1).cpu().numpy(), np.float64)
