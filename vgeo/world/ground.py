"""The ground's colour at any point: carriageway with its markings, pavement, grass, yard. Both views use it.

Shapes: any; positions are grid coordinates in metres, float32.
"""

import numpy as np
from numpy.typing import NDArray

from vgeo.world.scene import LUT_M, AxisTable, Scene
from vgeo.world.streets import SIDEWALK_M

Floats32 = NDArray[np.float32]

ASPHALT, PAVING, WHITE, CENTRE, GRASS, YARD, KERB = range(7)


def look_up(table: AxisTable, at_m: Floats32) -> NDArray[np.int32]:
    """Rows of an axis table at coordinates."""
    rows: NDArray[np.int32] = ((at_m - np.float32(table.start_m)) * np.float32(1 / LUT_M)).astype(np.int32)
    return np.clip(rows, 0, len(table.line_m) - 1, out=rows)


def surface(scene: Scene, u_m: Floats32, v_m: Floats32, blur_m: Floats32 | float) -> NDArray[np.uint8]:
    """What covers the ground at (u, v); lines are drawn no thinner than `blur_m`, the size of a pixel there."""
    axis_u, axis_v = scene.axes
    row_u, row_v = look_up(axis_u, u_m), look_up(axis_v, v_m)
    half_u, half_v = axis_u.half_m[row_u], axis_v.half_m[row_v]
    off_u, off_v = np.abs(u_m - axis_u.line_m[row_u]), np.abs(v_m - axis_v.line_m[row_v])
    edge_u, edge_v = off_u - half_u, off_v - half_v  # negative on the carriageway
    edge = np.minimum(edge_u, edge_v)
    park = scene.streets.park[axis_u.block[row_u], axis_v.block[row_v]]
    code = np.where(edge < 0, np.uint8(ASPHALT), np.where(park, np.uint8(GRASS), np.uint8(YARD)))
    blur = np.asarray(blur_m, np.float32)
    np.copyto(code, PAVING, where=(edge >= 0) & (edge < np.float32(SIDEWALK_M)))
    np.copyto(code, KERB, where=np.abs(edge - np.float32(0.1)) < np.float32(0.1) + np.float32(0.3) * blur)
    stroke = np.float32(0.09) + np.float32(0.35) * blur
    for off, edge_on, other, along in ((off_u, edge_u, edge_v, v_m), (off_v, edge_v, edge_u, u_m)):
        on_street = (edge_on < 0) & (other > 1.2)
        np.copyto(code, WHITE, where=on_street & (other < 4.2) & (_phase(off, 1.2) < np.float32(0.5)))
        on_street &= other > 5.5
        np.copyto(code, WHITE, where=on_street & (np.abs(edge_on + np.float32(2.3)) < stroke))
        np.copyto(code, CENTRE, where=on_street & (off < stroke) & (_phase(along, 6.0) < np.float32(0.6)))
    return code


def _phase(at_m: Floats32, period_m: float) -> Floats32:
    """Where in its period a coordinate lies, in [0, 1)."""
    turns = at_m * np.float32(1 / period_m)
    return turns - np.floor(turns)


def palette(scene: Scene) -> Floats32:
    """Colours [7, 3] of the surfaces."""
    land = scene.land
    paving, green = np.array(land.paving), 1.3 * scene.city.greenery
    return np.array(
        [
            land.asphalt,
            land.paving,
            (0.88, 0.88, 0.86),
            land.centre_line,
            0.55 * np.array(land.vegetation) + np.array([0.12, 0.22, 0.06]),
            (1 - green) * 0.72 * paving + green * 0.9 * np.array(land.vegetation),
            0.72 * paving + 0.12,
        ],
        np.float32,
    )
