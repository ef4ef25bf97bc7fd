"""Which sequences of a city are held out: drawn one by one, or a quarter of the city kept apart from the rest.

Shapes: G groups (sequences, or the pieces of one, which stay together), N frames.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.geo.near import any_within
from vgeo.geo.sphere import unit_vectors

HELD_SHARE = 0.2  # VidTAG, section 4.1, by the procedure of CityGuessr, section 5.1: 80:20, stratified by city
TRAIN, VAL, NEITHER = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Sides:
    """The side of each group [G], TRAIN, VAL or NEITHER, and how many came too near or have no position."""

    side: NDArray[np.int8]
    too_near: int = 0
    unplaced: int = 0


def held_count(groups: int) -> int:
    """A fifth, rounded; of two or more groups at least one, of a single one none."""
    return 0 if groups < 2 else max(1, round(HELD_SHARE * groups))


def drawn(groups: int, city: str, seed: int) -> Sides:
    """Hold out a fifth of the groups. A city's draw depends on its name and the seed, not on other cities."""
    side = np.full(groups, TRAIN, np.int8)
    side[_rng(city, seed).permutation(groups)[: held_count(groups)]] = VAL
    return Sides(side)


def apart(group: NDArray[np.int64], latlon_deg: NDArray[np.float64], city: str, seed: int, apart_m: float) -> Sides:
    """Hold out the fifth of the groups around a drawn one, and leave out what comes near to them on the other side.

    group: [N] rising from 0, the group of each frame. latlon_deg: [N, 2], NaN where unknown.
    Guaranteed: no positioned frame of a TRAIN group is within `apart_m` of a positioned frame of a VAL group, on the
    great circle. Groups of the training side that come nearer, also those that touch both sides, are NEITHER: they are
    not pulled over, since what touches them would have to follow. Groups without any position are NEITHER, too.
    """
    groups = int(group.max()) + 1 if len(group) else 0
    side = np.full(groups, NEITHER, np.int8)
    known = np.isfinite(latlon_deg[:, 0])
    placed, owner = latlon_deg[known], group[known]
    count = np.bincount(owner, minlength=groups)
    usable = np.flatnonzero(count)
    if not len(usable):
        return Sides(side, unplaced=groups)
    sums = np.stack([np.bincount(owner, axis, minlength=groups) for axis in unit_vectors(placed).T], axis=-1)
    centres = sums[usable] / count[usable, None]
    middle = centres[_rng(city, seed).integers(len(usable))]
    near_first = usable[np.argsort(((centres - middle) ** 2).sum(axis=1), kind="stable")]
    side[usable] = TRAIN
    side[near_first[: held_count(len(usable))]] = VAL
    on_train, on_val = side[owner] == TRAIN, side[owner] == VAL
    near = any_within(placed[on_train], placed[on_val], apart_m / 1000)
    touching = np.unique(owner[on_train][near])
    side[touching] = NEITHER
    return Sides(side, too_near=len(touching), unplaced=groups - len(usable))


def _rng(city: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(city.encode())])
