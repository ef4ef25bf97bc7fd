"""Upright things as flat pictures that always face the camera: trees, lamps, cars. And the traffic of a drive.

Shapes: P things, H x W pixels of the image, h x w of a picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.world.conditions import Conditions
from vgeo.world.scene import Scene

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

PICTURE = 96  # pixels on a side
CAR_COLOURS = np.array(
    [[0.85, 0.85, 0.85], [0.62, 0.64, 0.66], [0.15, 0.15, 0.17], [0.62, 0.13, 0.12], [0.16, 0.25, 0.47]], np.float32
)
CAR_SIZE_M = (1.85, 4.4, 1.5)  # width, length, height


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """colour = shade * tint + own, where `mask` is set."""

    mask: Bools  # [h, w]
    shade: Floats32  # [h, w]
    own: Floats32  # [3, h * w]


def _blank() -> tuple[Bools, Floats32, Floats32, Floats, Floats]:
    """Empty layers, and the coordinates of each pixel: x in [-1, 1] rightward, y in [0, 1] upward."""
    x, y = np.meshgrid(np.linspace(-1, 1, PICTURE), np.linspace(1, 0, PICTURE))
    shape = (PICTURE, PICTURE)
    return np.zeros(shape, bool), np.zeros(shape, np.float32), np.zeros((*shape, 3), np.float32), x, y


def _planes(own: Floats32) -> Floats32:
    return np.ascontiguousarray(own.reshape(-1, 3).T)


def tree_picture(kind: str, rng: np.random.Generator) -> Picture:
    """A round, a tall (poplar-like) or a palm tree."""
    mask, shade, own, x, y = _blank()
    trunk = (np.abs(x) < (0.05 if kind == "palm" else 0.08)) & (y < 0.75)
    crown = np.zeros_like(mask)
    if kind == "palm":
        for lean in np.linspace(-1.0, 1.0, 9):
            droop = 0.92 - 0.55 * (x * np.sign(lean) - 0.25) ** 2 * (0.3 + np.abs(lean)) - 0.10 * np.abs(lean)
            crown |= (
                (np.abs(y - droop) < 0.035) & (x * np.sign(lean) >= -0.02) & (np.abs(x) < 0.35 + 0.6 * np.abs(lean))
            )
    else:
        count, spread_x, low, high = (22, 0.62, 0.42, 0.86) if kind == "round" else (22, 0.28, 0.25, 0.90)
        for _ in range(count):
            cx, cy = rng.uniform(-spread_x, spread_x), rng.uniform(low, high)
            radius = rng.uniform(0.12, 0.20) * (1.2 - np.abs(cy - 0.6))
            crown |= (x - cx) ** 2 * (0.35 if kind == "round" else 0.8) + (y - cy) ** 2 < radius**2
    leaves = 0.72 + 0.45 * (y - 0.35) - 0.12 * x + rng.normal(0, 0.10, x.shape)
    shade[crown] = leaves[crown]
    own[trunk & ~crown] = (0.26, 0.20, 0.15)
    return Picture(mask=crown | trunk, shade=shade, own=_planes(own))


def lamp_picture() -> Picture:
    """A post with an arm."""
    _, shade, own, x, y = _blank()
    mask = (np.abs(x) < 0.10) | ((y > 0.965) & (x > 0) & (x < 0.95))
    shade[mask] = 1.0
    return Picture(mask=mask, shade=shade, own=_planes(own))


def car_picture(view: str) -> Picture:
    """A car from its end or from its side."""
    _, shade, own, x, y = _blank()
    taper = 0.80 - 0.55 * (y - 0.55) if view == "end" else 0.62 - 0.5 * (y - 0.55)
    body = (y > 0.13) & (y < 0.60) & (np.abs(x) < 0.97)
    cabin = (y >= 0.60) & (y < 0.98) & (np.abs(x) < taper + 0.1)
    shade[body | cabin] = (0.70 + 0.35 * y)[body | cabin].astype(np.float32)
    glass = (y > 0.62) & (y < 0.92) & (np.abs(x) < taper)
    lights = (y > 0.42) & (y < 0.53) & (np.abs(x) > 0.74) & (np.abs(x) < 0.95)
    wheels = (y < 0.26) & (np.abs(np.abs(x) - (0.75 if view == "end" else 0.62)) < 0.16)
    shadow = (y <= 0.13) & (np.abs(x) < 0.95)
    for where, colour in (
        (glass, (0.16, 0.19, 0.22)),
        (lights, (0.60, 0.16, 0.13)),
        (shadow, (0.10, 0.10, 0.11)),
        (wheels, (0.07, 0.07, 0.08)),
    ):
        shade[where] = 0.0
        own[where] = colour
    return Picture(mask=body | cabin | wheels | shadow, shade=shade, own=_planes(own))


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Cars of one drive: parked ones stay; moving ones go along their street."""

    uv_m: Floats  # [P, 2] at time 0
    step_m: Floats  # [P, 2] in a second
    tint: Floats32  # [P, 3]
    along_v: Bools  # [P]


def draw_traffic(scene: Scene, conditions: Conditions) -> Traffic:
    """Park and set moving the cars of one drive."""
    rng = np.random.default_rng([conditions.seed, 3])
    taken = rng.random(len(scene.kerbs.uv_m)) < conditions.cars
    parked = scene.kerbs.uv_m[taken]
    places, steps, along_v = [parked], [np.zeros_like(parked)], [scene.kerbs.along_v[taken]]
    streets = scene.streets
    right = -1.0 if scene.city.left_hand else 1.0
    for axis, (lines, half, cross) in enumerate(
        ((streets.u_m, streets.u_half_m, streets.v_m), (streets.v_m, streets.v_half_m, streets.u_m))
    ):
        for line, width in zip(lines, half, strict=True):
            count = rng.poisson(conditions.cars * (cross[-1] - cross[0]) / 60)
            at = rng.uniform(cross[0], cross[-1], count)
            way = rng.choice((-1.0, 1.0), count)
            # Keeping right, one drives at greater u when heading along +v, and at smaller v when heading along +u.
            lane = line + way * right * (1.0 if axis == 0 else -1.0) * width / 2
            speed = way * rng.uniform(5, 11, count)
            zero = np.zeros(count)
            places.append(np.stack((lane, at) if axis == 0 else (at, lane), axis=-1))
            steps.append(np.stack((zero, speed) if axis == 0 else (speed, zero), axis=-1))
            along_v.append(np.full(count, axis == 0))
    uv = np.concatenate(places)
    return Traffic(
        uv_m=uv,
        step_m=np.concatenate(steps),
        tint=CAR_COLOURS[rng.integers(len(CAR_COLOURS), size=len(uv))],
        along_v=np.concatenate(along_v),
    )


def paste(
    image: Floats32,
    depth_m: Floats,
    picture: Picture,
    box: tuple[float, float, float, float],
    distance_m: float,
    tint: Floats32,
    veil: tuple[float, Floats32],
) -> None:
    """Draw a picture into box (left, top, right, bottom; pixels) of an image [3, H, W] where nothing nearer stands.

    depth_m: [W] of the buildings. veil: share of the colour that comes through the haze, and the haze's colour [3, 1].
    """
    left, top, right, bottom = box
    x0, x1 = max(0, int(np.ceil(left))), min(image.shape[2], int(np.ceil(right)))
    y0, y1 = max(0, int(np.ceil(top))), min(image.shape[1], int(np.ceil(bottom)))
    if x0 >= x1 or y0 >= y1:
        return
    columns = ((np.arange(x0, x1) - left) * (PICTURE / (right - left))).astype(np.intp).clip(0, PICTURE - 1)
    rows = ((np.arange(y0, y1) - top) * (PICTURE / (bottom - top))).astype(np.intp).clip(0, PICTURE - 1)
    mask = picture.mask[rows[:, None], columns] & (distance_m < depth_m[x0:x1])
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return
    texel = rows[y] * PICTURE + columns[x]
    colour = picture.shade.ravel()[texel] * (tint * veil[0])[:, None] + picture.own[:, texel] * veil[0]
    image[:, y0 + y, x0 + x] = colour + veil[1] * (1 - veil[0])
