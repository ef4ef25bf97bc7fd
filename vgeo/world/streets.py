"""Streets around a city's centre: an irregular grid of avenues and side streets, turned to the city's bearing.

The grid has its own flat coordinates (u, v) in metres from the centre: u across, v along the city's bearing. Streets
are lines of constant u or v with a width each; the rectangles between them are blocks, some of which are parks. Block
(i, j) lies between lines i-1 and i across and j-1 and j along; the outermost blocks close the grid off.

Shapes: U, V lines, N points.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.geo.sphere import KM_PER_DEG
from vgeo.world.cities import City

Floats = NDArray[np.float64]

EXTENT_M = 900.0  # the outermost streets lie about so far from the centre
MARGIN_M = 200.0  # depth of the blocks that close the grid off
SIDEWALK_M = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Streets:
    """One city's grid."""

    city: City
    u_m: Floats  # [U] centre lines, rising
    v_m: Floats  # [V]
    u_half_m: Floats  # [U] half carriageways
    v_half_m: Floats  # [V]
    park: NDArray[np.bool_]  # [U + 1, V + 1]

    def to_latlon(self, uv_m: ArrayLike) -> Floats:
        """Grid coordinates [..., 2] as positions [..., 2]."""
        u, v = np.moveaxis(np.asarray(uv_m, np.float64), -1, 0)
        bearing = np.radians(self.city.bearing_deg)
        east_m = u * np.cos(bearing) + v * np.sin(bearing)
        north_m = v * np.cos(bearing) - u * np.sin(bearing)
        lat = self.city.lat_deg + north_m / (KM_PER_DEG * 1000)
        lon = self.city.lon_deg + east_m / (KM_PER_DEG * 1000 * np.cos(np.radians(self.city.lat_deg)))
        return np.stack([lat, lon], axis=-1)

    def to_uv(self, latlon_deg: ArrayLike) -> Floats:
        """Positions [..., 2] as grid coordinates [..., 2]; the inverse of `to_latlon`."""
        lat, lon = np.moveaxis(np.asarray(latlon_deg, np.float64), -1, 0)
        north_m = (lat - self.city.lat_deg) * KM_PER_DEG * 1000
        east_m = (lon - self.city.lon_deg) * KM_PER_DEG * 1000 * np.cos(np.radians(self.city.lat_deg))
        bearing = np.radians(self.city.bearing_deg)
        u = east_m * np.cos(bearing) - north_m * np.sin(bearing)
        v = east_m * np.sin(bearing) + north_m * np.cos(bearing)
        return np.stack([u, v], axis=-1)

    def block_edges(self, axis: int) -> tuple[Floats, Floats]:
        """Low and high faces of the blocks along one axis, [U + 1] or [V + 1] each."""
        lines, half = (self.u_m, self.u_half_m) if axis == 0 else (self.v_m, self.v_half_m)
        low = np.concatenate([[lines[0] - MARGIN_M], lines + half + SIDEWALK_M])
        high = np.concatenate([lines - half - SIDEWALK_M, [lines[-1] + MARGIN_M]])
        return low, high


def lay_streets(city: City, rng: np.random.Generator) -> Streets:
    """Draw the grid of a city."""
    u_m, u_half_m = _lines(city.block_m[0], city.road_m, rng)
    v_m, v_half_m = _lines(city.block_m[1], city.road_m, rng)
    park = rng.random((len(u_m) + 1, len(v_m) + 1)) < 0.03 + 0.10 * city.greenery
    park[[0, -1], :] = False
    park[:, [0, -1]] = False
    return Streets(city=city, u_m=u_m, v_m=v_m, u_half_m=u_half_m, v_half_m=v_half_m, park=park)


def _lines(block_m: float, road_m: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Centre lines from -EXTENT_M to EXTENT_M and their half widths; every third or fourth is an avenue."""
    pitch_m = block_m + road_m + 2 * SIDEWALK_M
    count = int(2 * EXTENT_M / pitch_m) + 1
    steps = pitch_m * rng.uniform(0.8, 1.25, count - 1)
    lines = np.concatenate([[0.0], np.cumsum(steps)])
    nearest_middle = lines[np.argmin(np.abs(lines - lines[-1] / 2))]
    lines -= nearest_middle  # a street runs through the very centre
    width = road_m * np.where(rng.random(count) < 0.28, rng.uniform(1.3, 1.6, count), rng.uniform(0.8, 1.1, count))
    return lines, width / 2
