"""The same city from above: roofs, yards, streets and trees, as a satellite image tile would show them.

Shapes: S x S pixels.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vgeo.world import ground
from vgeo.world.scene import LOT_M, Scene

if TYPE_CHECKING:
    from vgeo.world.street_view import Kit

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

ROOF_M = 12.5  # how deep buildings reach into their block


def view(scene: Scene, kit: "Kit", latlon_deg: Floats, span_m: float, size_px: int) -> NDArray[np.uint8]:
    """Render a north-up square around a position: uint8 [S, S, 3]."""
    pixel_m = span_m / size_px
    offset = (np.arange(size_px) + 0.5 - size_px / 2) * pixel_m
    east, north = offset[None, :], -offset[:, None]
    centre = scene.streets.to_uv(latlon_deg)
    bearing = np.radians(scene.city.bearing_deg)
    u = (centre[0] + east * np.cos(bearing) - north * np.sin(bearing)).astype(np.float32)
    v = (centre[1] + east * np.sin(bearing) + north * np.cos(bearing)).astype(np.float32)
    codes = ground.surface(scene, u, v, pixel_m)
    cells = len(kit.patches) - 1
    patch = kit.patches[(u * 2).astype(np.int32) & cells, (v * 2).astype(np.int32) & cells]
    image = ground.palette(scene)[codes] * (1 + np.float32(0.05) * patch)[..., None]
    _paint_roofs(image, scene, u, v, codes == ground.YARD)
    _paint_trees(image, scene, centre, pixel_m)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _paint_roofs(image: Floats32, scene: Scene, u: Floats32, v: Floats32, yard: NDArray[np.bool_]) -> None:
    """Roofs ring each block; a ridge and a darker side show their slope."""
    u, v = u[yard], v[yard]
    i = scene.axes[0].block[ground.look_up(scene.axes[0], u)].astype(np.int64)
    j = scene.axes[1].block[ground.look_up(scene.axes[1], v)].astype(np.int64)
    low_u, high_u, low_v, high_v = scene.low[0][i], scene.high[0][i], scene.low[1][j], scene.high[1][j]
    inward = np.stack([u - low_u, high_u - u, v - low_v, high_v - v])
    side = np.argmin(inward, axis=0)
    depth = inward[side, np.arange(len(side))]
    lot = scene.lot_index(i, j, side, np.where(side < 2, v - low_v, u - low_u))
    along = np.where(side < 2, v - low_v, u - low_u)
    roof = scene.lots.roof[lot]
    if scene.city.pitched:
        slope = np.where(depth < ROOF_M / 2, 1.08, 0.90)
    else:
        slope = np.where((depth < 0.7) | (depth > ROOF_M - 0.7), 1.15, 1.0)
    edge = np.mod(along, LOT_M)
    slope = np.where(np.minimum(edge, LOT_M - edge) < 0.3, 0.8, slope)
    # Some of the facade shows, as it does on tiles that were not taken straight from above.
    colour = (0.6 * roof + 0.4 * scene.lots.facade[lot]) * slope[:, None].astype(np.float32)
    image[yard] = np.where((depth < ROOF_M)[:, None], colour, image[yard])


def _paint_trees(image: Floats32, scene: Scene, centre: Floats, pixel_m: float) -> None:
    size = len(image)
    bearing = np.radians(scene.city.bearing_deg)
    offset = scene.trees.uv_m - centre
    east = offset[:, 0] * np.cos(bearing) + offset[:, 1] * np.sin(bearing)
    north = offset[:, 1] * np.cos(bearing) - offset[:, 0] * np.sin(bearing)
    x, y = size / 2 + east / pixel_m, size / 2 - north / pixel_m
    near = np.flatnonzero((np.abs(x - size / 2) < size / 2 + 20) & (np.abs(y - size / 2) < size / 2 + 20))
    for k in near:
        radius = max(0.3 * float(scene.trees.height_m[k]) / pixel_m, 0.8)
        x0, x1 = max(0, int(x[k] - radius)), min(size, int(x[k] + radius) + 2)
        y0, y1 = max(0, int(y[k] - radius)), min(size, int(y[k] + radius) + 2)
        if x0 >= x1 or y0 >= y1:
            continue
        dx, dy = np.arange(x0, x1) + 0.5 - x[k], np.arange(y0, y1)[:, None] + 0.5 - y[k]
        inside = dx**2 + dy**2 < radius**2
        light = (0.9 - 0.22 * (dx + dy) / radius).astype(np.float32)
        np.copyto(image[y0:y1, x0:x1], light[..., None] * scene.trees.tint[k], where=inside[..., None])
