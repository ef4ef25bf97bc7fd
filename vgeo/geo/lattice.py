"""Lattices of even spacing over the whole Earth, of which only the cells that are asked for are ever made.

A lattice cuts the Earth into rows of equal height, and each row, on its own, into columns about as wide: a cell is
(row, column), its position the middle. So cells are even everywhere, no longitude is special, and around a pole stand
three or four wedges. The cells of one lattice are shared out among those of a coarser one: each belongs to that in
which its middle lies, and to no other.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.geo.sphere import EARTH_RADIUS_KM, KM_PER_DEG

Floats = NDArray[np.float64]
Cells = NDArray[np.int64]  # [N, 2] row from the south pole, column from the antimeridian eastwards

LEAST_KM = 1e-3  # finer ones number their cells beyond 64 bits


@dataclass(frozen=True, slots=True)
class Lattice:
    """Cells of about `spacing_km`, never larger from south to north. Raises ValueError below a metre."""

    spacing_km: float

    def __post_init__(self) -> None:
        if not LEAST_KM <= self.spacing_km < math.inf:
            raise ValueError(f"a lattice of {self.spacing_km:g} km: must be at least {LEAST_KM:g}")

    @property
    def rows(self) -> int:
        """How many, from pole to pole."""
        return max(1, math.ceil(180 * KM_PER_DEG / self.spacing_km))

    def columns(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many each of these rows has."""
        around = 2 * self.rows * np.cos(np.radians(self._lat_deg(row)))
        return np.maximum(1, np.ceil(around)).astype(np.int64)

    def latlon_deg(self, cells: Cells) -> Floats:
        """Middles of cells: [N, 2]."""
        row, column = cells.T
        return np.stack([self._lat_deg(row), (column + 0.5) * (360 / self.columns(row)) - 180], axis=1)

    def around(self, latlon_deg: Floats, radius_km: float) -> Cells:
        """Cells whose middle lies within so many km of any of the positions [M, 2], each once, from south to north."""
        lat = latlon_deg[:, 0]
        reach = radius_km / KM_PER_DEG
        first = np.ceil((lat - reach + 90) / 180 * self.rows - 0.5).clip(0, self.rows - 1)
        last = np.floor((lat + reach + 90) / 180 * self.rows - 0.5).clip(0, self.rows - 1)
        of, row = _ranges(first, last + 1)
        half = _half_width_deg(lat[of], self._lat_deg(row), radius_km)
        here = half >= 0  # a clipped row at a pole may be out of reach
        of, row, half = of[here], row[here], half[here]
        columns = self.columns(row)
        west = (latlon_deg[of, 1] - half + 180) / 360 * columns - 0.5
        east = west + 2 * half / 360 * columns
        whole = half >= 180
        start = np.where(whole, 0, np.ceil(west))
        run, column = _ranges(start, np.where(whole, columns, np.floor(east) + 1))
        return self._unique(row[run], column % columns[run])

    def within(self, coarse: "Lattice", cells: Cells) -> Cells:
        """Cells whose middle lies in one of these cells of a coarser lattice, each once, from south to north."""
        row, column = cells.T
        of, fine_row = _ranges(
            _first_middle(row, self.rows, coarse.rows), _first_middle(row + 1, self.rows, coarse.rows)
        )
        fine, wide = self.columns(fine_row), coarse.columns(row)[of]
        first, stop = (_first_middle(column[of] + side, fine, wide) for side in (0, 1))
        run, fine_column = _ranges(first, stop)
        return self._unique(fine_row[run], fine_column)

    def _lat_deg(self, row: NDArray[np.int64]) -> Floats:
        return np.asarray((row + 0.5) * (180 / self.rows) - 90, np.float64)

    def _unique(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> Cells:
        widest = 2 * self.rows + 1
        return np.stack(np.divmod(np.unique(row * widest + column), widest), axis=1)


def _first_middle(edge: NDArray[np.int64], fine: NDArray[np.int64] | int, coarse: NDArray[np.int64] | int) -> Cells:
    """The first of `fine` equal steps whose middle is not before the `edge`-th of `coarse` ones; in whole numbers."""
    return -((coarse - 2 * edge * fine) // (2 * np.asarray(coarse)))


def _half_width_deg(lat_deg: Floats, row_deg: Floats, radius_km: float) -> Floats:
    """Degrees of longitude to each side in which a row lies within a circle; 180 for all of it, negative for none."""
    angle = min(radius_km / EARTH_RADIUS_KM, math.pi)
    lat, row = np.radians(lat_deg), np.radians(row_deg)
    left = np.sin(angle / 2) ** 2 - np.sin((lat - row) / 2) ** 2  # of the haversine, for the longitudes
    scale = np.cos(lat) * np.cos(row)
    share = np.divide(left, scale, out=np.where(left >= 0, 1.0, -1.0), where=scale > 1e-15)
    half = np.degrees(2 * np.arcsin(np.sqrt(share.clip(0, 1))))
    return np.asarray(np.where(share >= 0, half, -1.0), np.float64)


def _ranges(first: NDArray[Any], stop: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All whole numbers of many half-open ranges: which range each is of, and the number."""
    start = first.astype(np.int64)
    lengths = np.maximum(0, stop.astype(np.int64) - start)
    of = np.repeat(np.arange(len(start)), lengths)
    return of, np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + start[of]
