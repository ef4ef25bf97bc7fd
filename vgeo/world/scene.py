"""What stands in a city: a building on every lot, trees, lamps and places where cars park, with their looks.

Every block is ringed by lots of equal width on each of its four sides; a lot carries one building. Both views, from
the street and from above, read the same table, so a red roof seen from above is the red roof seen from the street.

Shapes: L lots, P things (trees, lamps or kerb places).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.world.appearance import Appearance, channel, tinted
from vgeo.world.cities import LANDS, City, Land
from vgeo.world.streets import Streets, lay_streets

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

LOT_M = 13.0
LUT_M = 0.25  # step of the look-up tables along each axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Lots:
    """One row a building; see `Scene.lot_index`."""

    facade: Floats32  # [L, 3]
    roof: Floats32  # [L, 3]
    sign: Floats32  # [L, 3]
    glass: Floats32  # [L, 3]
    height_m: Floats32  # [L] up to the eaves
    roof_m: Floats32  # [L] height of what is seen of the roof above the eaves
    floor_m: Floats32  # [L]
    bay_m: Floats32  # [L] from window to window
    window: Floats32  # [L] share of a bay that is window
    shop: Floats32  # [L] 1 where the ground floor is a shop


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """Upright things beside the street."""

    uv_m: Floats  # [P, 2]
    height_m: Floats32  # [P]
    tint: Floats32  # [P, 3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kerbs:
    """Places where a car may park."""

    uv_m: Floats  # [P, 2]
    along_v: NDArray[np.bool_]  # [P] the street runs along v, so the car does


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTable:
    """For each quarter metre along one axis: the nearest street line and the block."""

    start_m: float
    line_m: Floats32  # position of the nearest line
    half_m: Floats32  # its half width
    block: NDArray[np.int16]  # the block that holds the point, or the one next to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A city, ready to be rendered."""

    city: City
    land: Land
    streets: Streets
    lots: Lots
    lots_a_side: int
    low: tuple[Floats, Floats]  # block faces along u and v
    high: tuple[Floats, Floats]
    axes: tuple[AxisTable, AxisTable]
    trees: Things
    lamps: Things
    kerbs: Kerbs
    skyline_deg: Floats32  # [720] elevation of the horizon by azimuth, every half degree

    def lot_index(self, i: NDArray, j: NDArray, side: NDArray, along_m: NDArray) -> Ints:
        """Row in `lots` of the building on a side (0 low u, 1 high u, 2 low v, 3 high v) of block (i, j)."""
        place = np.clip((along_m / LOT_M).astype(np.int64), 0, self.lots_a_side - 1)
        blocks_v = len(self.streets.v_m) + 1
        index: Ints = ((i.astype(np.int64) * blocks_v + j) * 4 + side) * self.lots_a_side + place
        return index


def build_scene(city: City, appearance: Appearance, seed: int, number: int) -> Scene:
    """Lay out a city; `number` tells the cities of a world apart."""
    rng = np.random.default_rng([seed, 2, number])
    streets = lay_streets(city, rng)
    low = tuple(streets.block_edges(axis)[0] for axis in (0, 1))
    high = tuple(streets.block_edges(axis)[1] for axis in (0, 1))
    longest_m = max(float((h - b)[1:-1].max()) for b, h in zip(low, high, strict=True))
    lots_a_side = int(np.ceil(longest_m / LOT_M))
    land = LANDS[city.continent]
    return Scene(
        city=city,
        land=land,
        streets=streets,
        lots=_build_lots(streets, appearance, rng, (low[0], low[1]), (high[0], high[1]), lots_a_side),
        lots_a_side=lots_a_side,
        low=(low[0], low[1]),
        high=(high[0], high[1]),
        axes=(_axis_table(streets, 0), _axis_table(streets, 1)),
        trees=_plant_trees(streets, appearance, land, rng),
        lamps=_raise_lamps(streets, rng),
        kerbs=_kerb_places(streets, rng),
        skyline_deg=_draw_skyline(city, rng),
    )


def _build_lots(
    streets: Streets,
    appearance: Appearance,
    rng: np.random.Generator,
    low: tuple[Floats, Floats],
    high: tuple[Floats, Floats],
    lots_a_side: int,
) -> Lots:
    city = streets.city
    i, j, side, place = (
        axis.ravel()
        for axis in np.meshgrid(
            np.arange(len(low[0])), np.arange(len(low[1])), np.arange(4), np.arange(lots_a_side), indexing="ij"
        )
    )
    along = (place + 0.5) * LOT_M
    u = np.where(side == 0, low[0][i], np.where(side == 1, high[0][i], low[0][i] + along))
    v = np.where(side == 2, low[1][j], np.where(side == 3, high[1][j], low[1][j] + along))
    looks = appearance(streets.to_latlon(np.stack([u, v], axis=-1)))
    n = len(looks)
    own = rng.normal(0.0, 1.0, (n, 5))  # what makes one building differ from its neighbour
    facade = tinted(
        np.array(city.facade),
        channel(looks, "light") + 0.45 * own[:, 0],
        channel(looks, "warm") + 0.45 * own[:, 1],
        channel(looks, "red") + 0.35 * own[:, 2],
        0.085,
    )
    roof = tinted(0.6 * np.array(city.roof) + 0.4 * facade, channel(looks, "roof"), own[:, 3], own[:, 4], 0.05)
    storeys = np.clip(city.storeys * np.exp(0.38 * channel(looks, "height") + 0.16 * rng.normal(size=n)), 1, 24)
    floor_m = city.floor_m + 0.15 * np.clip(channel(looks, "bay"), -1.5, 1.5)
    glass = tinted(np.array([0.30, 0.36, 0.42]), channel(looks, "glass"), -np.abs(own[:, 1]), own[:, 2] * 0, 0.06)
    hue = rng.random(n)
    sign = 0.5 + 0.28 * np.cos(2 * np.pi * (hue[:, None] + np.array([0.0, 1 / 3, 2 / 3])))
    return Lots(
        facade=facade.astype(np.float32),
        roof=roof.astype(np.float32),
        sign=sign.astype(np.float32),
        glass=glass.astype(np.float32),
        height_m=(np.round(storeys) * floor_m + 1.2).astype(np.float32),
        roof_m=(rng.uniform(2.2, 3.6, n) if city.pitched else np.full(n, 0.5)).astype(np.float32),
        floor_m=floor_m.astype(np.float32),
        bay_m=(city.bay_m * np.exp(0.16 * np.clip(channel(looks, "texture"), -2, 2))).astype(np.float32),
        window=np.clip(city.window + 0.07 * channel(looks, "glass"), 0.25, 0.85).astype(np.float32),
        shop=(rng.normal(0.0, 0.5, n) + channel(looks, "shops") > 0.2).astype(np.float32),
    )


def _axis_table(streets: Streets, axis: int) -> AxisTable:
    lines, half = (streets.u_m, streets.u_half_m) if axis == 0 else (streets.v_m, streets.v_half_m)
    _, high = streets.block_edges(axis)
    start = float(lines[0] - 400)
    at = np.arange(start, lines[-1] + 400, LUT_M) + LUT_M / 2
    # Nearest by distance to the kerb, not to the centre line: lines differ in width.
    nearest = np.argmin(np.abs(at[:, None] - lines) - half, axis=1)
    return AxisTable(
        start_m=start,
        line_m=lines[nearest].astype(np.float32),
        half_m=half[nearest].astype(np.float32),
        block=np.minimum(np.searchsorted(high, at), len(high) - 1).astype(np.int16),
    )


def _beside_streets(streets: Streets, every_m: float, offset_m: float, rng: np.random.Generator) -> list[Floats]:
    """Places [P, 2] on both sides of every street, `offset_m` outside the kerb, none at crossings.

    Returns those of the streets along v first, then those along u.
    """
    found = []
    for axis in (0, 1):
        lines, half = (streets.u_m, streets.u_half_m) if axis == 0 else (streets.v_m, streets.v_half_m)
        cross, cross_half = (streets.v_m, streets.v_half_m) if axis == 0 else (streets.u_m, streets.u_half_m)
        along = np.arange(cross[0], cross[-1], every_m)
        spots = []
        for line, width in zip(lines, half, strict=True):
            for sign in (-1.0, 1.0):
                at = along + rng.uniform(-0.2, 0.2, len(along)) * every_m
                clear = (np.abs(at[:, None] - cross) > cross_half + 6.0).all(axis=1)
                fixed = np.full(int(clear.sum()), line + sign * (width + offset_m))
                spots.append(np.stack((fixed, at[clear]) if axis == 0 else (at[clear], fixed), axis=-1))
        found.append(np.concatenate(spots))
    return found


def _plant_trees(streets: Streets, appearance: Appearance, land: Land, rng: np.random.Generator) -> Things:
    kerb = np.concatenate(_beside_streets(streets, 9.0, 0.9, rng))
    looks = appearance(streets.to_latlon(kerb))
    share = streets.city.greenery * np.exp(0.75 * channel(looks, "green"))
    kerb = kerb[rng.random(len(kerb)) < share]
    places = [kerb]
    low_u, high_u = streets.block_edges(0)
    low_v, high_v = streets.block_edges(1)
    for i, j in np.argwhere(streets.park):
        count = int((high_u[i] - low_u[i]) * (high_v[j] - low_v[j]) / 110)
        places.append(rng.uniform((low_u[i] + 2, low_v[j] + 2), (high_u[i] - 2, high_v[j] - 2), (count, 2)))
    uv = np.concatenate(places)
    looks = appearance(streets.to_latlon(uv))
    tint = tinted(
        np.array(land.vegetation),
        0.4 * channel(looks, "light") + 0.3 * rng.normal(size=len(uv)),
        channel(looks, "green"),
        0.3 * channel(looks, "red"),
        0.045,
    )
    height = np.clip(6.5 + 1.3 * channel(looks, "height") + rng.normal(0, 0.9, len(uv)), 3.5, 12)
    return Things(uv_m=uv, height_m=height.astype(np.float32), tint=tint.astype(np.float32))


def _raise_lamps(streets: Streets, rng: np.random.Generator) -> Things:
    uv = np.concatenate(_beside_streets(streets, 31.0, 0.5, rng))
    grey = np.full((len(uv), 3), 0.34, np.float32)
    return Things(uv_m=uv, height_m=np.full(len(uv), 7.5, np.float32), tint=grey)


def _kerb_places(streets: Streets, rng: np.random.Generator) -> Kerbs:
    along_v, along_u = _beside_streets(streets, 7.0, -1.1, rng)
    return Kerbs(
        uv_m=np.concatenate([along_v, along_u]),
        along_v=np.arange(len(along_v) + len(along_u)) < len(along_v),
    )


def _draw_skyline(city: City, rng: np.random.Generator) -> Floats32:
    """Hills around the city, and towers where it builds high."""
    azimuth = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    hills = sum(np.cos(k * azimuth + rng.uniform(0, 2 * np.pi)) / k**0.8 for k in range(1, 14))
    elevation = np.clip(city.hills * (0.8 + 0.45 * np.asarray(hills)), 0.3, None)
    for _ in range(int(city.storeys * 6)):
        start, width = int(rng.integers(720)), int(rng.integers(2, 9))
        height = rng.uniform(1.0, 1.6 * city.storeys)
        place = (start + np.arange(width)) % 720
        elevation[place] = np.maximum(elevation[place], height)
    return elevation.astype(np.float32)
