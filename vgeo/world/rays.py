"""Where rays from a camera in the street meet the first building, for all image columns at once.

Seen in plan, a ray runs through a grid of rectangles. It is inside a block when its u lies in one of the blocks' u
intervals and its v in one of their v intervals, and both are intervals in time along the ray; the first overlap of
the two is the hit. That needs no stepping: all pairs of nearby intervals are tried together.

Shapes: W columns, K intervals along an axis.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.world.scene import Scene

Floats = NDArray[np.float64]

REACH_BLOCKS = 4  # blocks looked at on either side of the camera's
FAR_M = 420.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """What each column sees."""

    depth_m: Floats  # [W] along the optical axis; FAR_M where there is nothing
    found: NDArray[np.bool_]  # [W]
    lot: NDArray[np.int64]  # [W] rows of the lots table
    along_m: Floats  # [W] along the face from the block's corner
    side: NDArray[np.int64]  # [W] as in Scene.lot_index


def cast(scene: Scene, camera_uv: Floats, directions: Floats) -> Hits:
    """Meet buildings along rays camera + t * directions [W, 2]; t is the depth."""
    steps = np.where(np.abs(directions) < 1e-9, 1e-9, directions)
    first, begin, end = [], [], []
    for axis in (0, 1):
        low, high = scene.low[axis], scene.high[axis]
        here = int(np.searchsorted(high, camera_uv[axis]))
        start, stop = max(0, here - REACH_BLOCKS), min(len(low), here + REACH_BLOCKS + 1)
        at_low = (low[start:stop] - camera_uv[axis])[:, None] / steps[:, axis]
        at_high = (high[start:stop] - camera_uv[axis])[:, None] / steps[:, axis]
        first.append(start)
        begin.append(np.minimum(at_low, at_high))
        end.append(np.maximum(at_low, at_high))
    enter = np.maximum(begin[0][:, None], begin[1][None])  # [Ku, Kv, W]
    leave = np.minimum(end[0][:, None], end[1][None])
    park = scene.streets.park[first[0] : first[0] + len(begin[0]), first[1] : first[1] + len(begin[1])]
    enter[(enter >= leave) | (enter <= 0) | park[..., None]] = np.inf
    flat = enter.reshape(-1, len(steps))
    best = np.argmin(flat, axis=0)
    columns = np.arange(len(steps))
    depth = flat[best, columns]
    found = depth < FAR_M
    depth = np.where(found, depth, FAR_M)
    place_u, place_v = np.divmod(best, len(begin[1]))
    u_face = begin[0][place_u, columns] >= begin[1][place_v, columns]
    i, j = place_u + first[0], place_v + first[1]
    forward = np.where(u_face, steps[:, 0], steps[:, 1]) > 0
    side = np.where(u_face, 0, 2) + np.where(forward, 0, 1)
    points = camera_uv + depth[:, None] * steps
    along = np.where(u_face, points[:, 1] - scene.low[1][j], points[:, 0] - scene.low[0][i])
    return Hits(depth_m=depth, found=found, lot=scene.lot_index(i, j, side, along), along_m=along, side=side)
