"""Uniform grids of candidate positions, one box a region (VidTAG, appendix D.1).

A box is given by its southern and northern edge, its western edge and its width eastwards, so that one that
straddles the antimeridian is as ordinary as any other. Positions are (lat, lon) in degrees.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.geo.sphere import DECIMALS, EARTH_RADIUS_KM, KM_PER_DEG, wrap_lon

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A region between two parallels and two meridians."""

    south_deg: float
    north_deg: float
    west_deg: float  # in [-180, 180)
    width_deg: float  # eastwards from west_deg, 0 to 360

    @property
    def area_km2(self) -> float:
        """Area on the sphere."""
        band = math.sin(math.radians(self.north_deg)) - math.sin(math.radians(self.south_deg))
        return EARTH_RADIUS_KM**2 * math.radians(self.width_deg) * band

    @property
    def narrowing(self) -> float:
        """Length of the shortest of its parallels over that of the longest: 1 for a low box, 0 up to a pole."""
        edges = [math.cos(math.radians(lat)) for lat in (self.south_deg, self.north_deg)]
        return min(edges) / (1.0 if self.south_deg < 0 < self.north_deg else max(edges))

    def padded(self, margin_km: float) -> "Box":
        """Grow by `margin_km` on every side; poles and the full circle are the end.

        The paper pads by a constant in degrees; kilometres make the margin the same everywhere. East and west it is
        measured along the edge that is nearer to a pole, where a degree is shortest.
        """
        south = max(-90.0, self.south_deg - margin_km / KM_PER_DEG)
        north = min(90.0, self.north_deg + margin_km / KM_PER_DEG)
        shrink = math.cos(math.radians(max(abs(south), abs(north))))
        pad = 360.0 if shrink * 360 * KM_PER_DEG <= 2 * margin_km else margin_km / (KM_PER_DEG * shrink)
        width = self.width_deg + 2 * pad
        if width >= 360:
            return Box(south_deg=south, north_deg=north, west_deg=-180.0, width_deg=360.0)
        return Box(south_deg=south, north_deg=north, west_deg=float(wrap_lon(self.west_deg - pad)), width_deg=width)


def bounding_box(latlon_deg: ArrayLike, trim_percent: float = 0.0) -> Box:
    """Smallest box around positions [N, 2], N >= 1; its meridians leave out the widest empty gap, wherever that is.

    trim_percent: share of the positions (0 to 50) to leave out at each of the four edges as outliers.
    """
    points = np.asarray(latlon_deg, np.float64)
    lat, lon = points[:, 0], np.sort(wrap_lon(points[:, 1]))
    gaps = np.diff(lon, append=lon[0] + 360)
    first = (int(np.argmax(gaps)) + 1) % len(lon)
    offset = (np.roll(lon, -first) - lon[first]) % 360
    cut = [trim_percent, 100 - trim_percent]
    (south, north), (start, end) = np.percentile(lat, cut), np.percentile(offset, cut)
    west = float(wrap_lon(lon[first] + start))
    return Box(south_deg=float(south), north_deg=float(north), west_deg=west, width_deg=float(end - start))


def grid_shape(box: Box, spacing_km: float) -> tuple[int, int]:
    """Rows and columns of a box's grid: each edge's length over the spacing, rounded (appendix D.1), at least one.

    The columns are counted along the southern edge as in the paper. Its length is taken along the parallel, which for
    boxes of a city's size is the great circle between the corners, and for wide ones does not cut the corner.
    """
    height_km = (box.north_deg - box.south_deg) * KM_PER_DEG
    width_km = box.width_deg * KM_PER_DEG * math.cos(math.radians(box.south_deg))
    return max(1, round(height_km / spacing_km)), max(1, round(width_km / spacing_km))


def grid_axes(box: Box, spacing_km: float) -> tuple[Floats, Floats]:
    """Latitudes and longitudes of a grid, both edges included; rounded to what is kept on disk.

    An axis of one point has it in the middle, and a full circle does not name its first meridian twice.
    """
    rows, columns = grid_shape(box, spacing_km)
    lat = np.linspace(box.south_deg, box.north_deg, rows) if rows > 1 else [(box.south_deg + box.north_deg) / 2]
    east = np.linspace(0, box.width_deg, columns, endpoint=box.width_deg < 360) if columns > 1 else box.width_deg / 2
    lon = wrap_lon(np.round(box.west_deg + np.atleast_1d(east), DECIMALS))
    return np.asarray(np.round(lat, DECIMALS), np.float64), np.asarray(np.round(lon, DECIMALS), np.float64)


def grid(box: Box, spacing_km: float) -> Floats:
    """All positions of a box's grid [rows * columns, 2], from south to north and, in each row, from west to east."""
    lat, lon = grid_axes(box, spacing_km)
    points = np.empty((len(lat), len(lon), 2))
    points[..., 0] = lat[:, None]
    points[..., 1] = lon
    return points.reshape(-1, 2)


def even_latitudes(box: Box, spacing_km: float) -> Floats:
    """Rows of a grid that lie in the middle of their bands: on the edges, an area would hardly hold any."""
    rows, _ = grid_shape(box, spacing_km)
    middle = (np.arange(rows) + 0.5) / rows
    return np.asarray(np.round(box.south_deg + middle * (box.north_deg - box.south_deg), DECIMALS), np.float64)


def even_columns(box: Box, lat_deg: Floats, spacing_km: float) -> NDArray[np.int64]:
    """Points on each row [R] of a grid whose rows follow the parallels' own lengths, at least one."""
    lengths_km = box.width_deg * KM_PER_DEG * np.cos(np.radians(lat_deg))
    return np.maximum(1, np.rint(lengths_km / spacing_km)).astype(np.int64)


def even_rows(box: Box, lat_deg: Floats, spacing_km: float) -> Floats:
    """Positions on the rows at `lat_deg`, each divided by the spacing on its own: even in boxes of any height.

    Ours, for areas as large as countries, where the paper's columns crowd towards a pole or thin out away from it.
    """
    columns = even_columns(box, lat_deg, spacing_km)
    before = np.repeat(np.cumsum(columns) - columns, columns)
    share = (np.arange(columns.sum()) - before + 0.5) / np.repeat(columns, columns)
    lon = wrap_lon(np.round(box.west_deg + share * box.width_deg, DECIMALS))
    return np.stack([np.repeat(lat_deg, columns), np.round(lon, DECIMALS)], axis=1)


def fitting_spacing_km(count: Callable[[float], float], spacing_km: float, max_points: int) -> float:
    """The least spacing, in two digits, at which `count` of it is no more than `max_points`."""
    wanted = spacing_km
    while count(wanted) > max_points and wanted < np.pi * EARTH_RADIUS_KM:
        wanted *= max(1.01, math.sqrt(count(wanted) / max_points))
        unit = 10.0 ** (math.floor(math.log10(wanted)) - 1)
        wanted = float(f"{math.ceil(wanted / unit) * unit:.2g}")
    return wanted
