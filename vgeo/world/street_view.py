"""The view from a street: sky, buildings, ground, and what stands in front of them, in numpy.

One ray is cast for each image column (rays.py); above and below the building it meets, sky and ground fill the
column. Patterns finer than a pixel fade into their mean, so that far walls do not flicker. Everything is float32.

Colours lie in planes while a view is painted (numpy is several times faster over long rows than over triples).

Shapes: H x W pixels, R a band of image rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.world import ground, rays, sprites
from vgeo.world.conditions import Conditions
from vgeo.world.scene import LOT_M, Scene

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

CAMERA_M = 1.6
FIELD_OF_VIEW_DEG = 82.0
THINGS_REACH_M = 110.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """Pictures and noise that all views of a world share."""

    trees: tuple[sprites.Picture, ...]  # one for each kind below
    lamp: sprites.Picture
    car_end: sprites.Picture
    car_side: sprites.Picture
    grain: Floats32  # [512, 512] standard normal
    patches: Floats32  # [128, 128] smooth, of the ground, half a metre a cell

    TREE_KINDS = ("round", "tall", "palm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Where the camera is and looks, in grid coordinates and pixels."""

    uv_m: Floats  # [2]
    ahead: Floats  # [2] unit vector
    aside: Floats  # [2] unit vector to the right
    azimuth_deg: float
    focal_px: float
    horizon_px: float
    width: int
    height: int

    def columns(self) -> Floats:
        """Offsets of the columns from the axis, in focal lengths: [W]."""
        return np.asarray((np.arange(self.width) + 0.5 - self.width / 2) / self.focal_px)


def place_camera(
    scene: Scene,
    latlon_deg: Floats,
    heading_deg: float,
    conditions: Conditions,
    time_s: float,
    size: tuple[int, int],
) -> Camera:
    """Set up a camera of `size` (width, height), shaken as the conditions say."""
    width, height = size
    phase = conditions.seed % 997
    swing = conditions.shake_deg * np.sin(np.array([9.1, 13.7, 5.3]) * time_s + phase * np.array([1.0, 2.0, 3.0]))
    heading = heading_deg + swing[0]
    angle = np.radians(heading - scene.city.bearing_deg)
    ahead, aside = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    focal = width / 2 / np.tan(np.radians(FIELD_OF_VIEW_DEG) / 2)
    tilt_px = focal * np.radians(swing[1] + 0.5 * swing[2])
    return Camera(
        uv_m=scene.streets.to_uv(latlon_deg),
        ahead=ahead,
        aside=aside,
        azimuth_deg=float(heading % 360),
        focal_px=float(focal),
        horizon_px=float(height * 0.54 + tilt_px),
        width=width,
        height=height,
    )


def view(
    scene: Scene, kit: Kit, camera: Camera, conditions: Conditions, traffic: sprites.Traffic, time_s: float
) -> NDArray[np.uint8]:
    """Render one frame: uint8 [H, W, 3]."""
    directions = camera.ahead + camera.columns()[:, None] * camera.aside
    hits = rays.cast(scene, camera.uv_m, directions)
    haze = (np.array(scene.land.sky, np.float32) * 0.35 + np.float32(0.55))[:, None, None]
    image = np.empty((3, camera.height, camera.width), np.float32)
    _paint_sky(image, scene, camera, conditions, haze)
    _paint_ground(image, scene, kit, camera, conditions, directions, haze)
    _paint_walls(image, scene, camera, conditions, hits, haze)
    _paint_things(image, scene, kit, camera, conditions, hits, traffic, time_s, haze)
    image *= np.array(conditions.light, np.float32)[:, None, None] * np.float32(255)
    if conditions.noise > 0:
        x, y = np.random.default_rng([conditions.seed, round(time_s * 1000)]).integers(0, 256, 2)
        image += np.float32(255 * conditions.noise) * kit.grain[y : y + camera.height, x : x + camera.width]
    return np.ascontiguousarray(np.clip(image, 0, 255, out=image).astype(np.uint8).transpose(1, 2, 0))


def _paint_sky(image: Floats32, scene: Scene, camera: Camera, conditions: Conditions, haze: Floats32) -> None:
    stop = min(camera.height, int(camera.horizon_px) + 1)
    elevation = np.degrees(np.arctan((camera.horizon_px - np.arange(stop)) / camera.focal_px)).astype(np.float32)[
        :, None
    ]
    azimuth = (camera.azimuth_deg + np.degrees(np.arctan(camera.columns()))).astype(np.float32)
    sky = haze + (_rgb(scene.land.sky) - haze) * np.clip(elevation / 40, 0, 1)  # [3, R, 1]
    turns, rise = np.radians(azimuth)[None], elevation / 14
    phase = np.float32(conditions.seed % 1009)
    # sin(a + b) of a row's and a column's angle, by the addition theorem: no sine for each pixel.
    puffs = np.sin(5 * turns + phase)
    for a, b in ((9 * turns + 1.7 * phase, 2 * rise), (phase - 4 * turns, 3 * rise)):
        puffs = puffs + np.sin(a) * np.cos(b) + np.cos(a) * np.sin(b)
    cover = np.float32(0.85) * np.clip(puffs * np.float32(0.45) + np.float32(2.2 * conditions.clouds - 0.9), 0, 1)
    grey = np.float32(0.93 - 0.20 * conditions.clouds)
    image[:, :stop] = sky + cover * (grey - sky)
    half_degrees = ((azimuth % 360) * 2).astype(np.intp) % 720  # a hair below 0 rounds to 360
    hills = scene.skyline_deg[half_degrees]
    colour = np.float32(0.35) * _rgb(scene.land.vegetation) + np.float32(0.6) * haze
    np.copyto(image[:, :stop], colour, where=elevation < hills)


def _rgb(colour: tuple[float, float, float]) -> Floats32:
    return np.array(colour, np.float32)[:, None, None]


def _paint_ground(
    image: Floats32,
    scene: Scene,
    kit: Kit,
    camera: Camera,
    conditions: Conditions,
    directions: Floats,
    haze: Floats32,
) -> None:
    start = max(0, int(camera.horizon_px) + 1)
    depth = CAMERA_M * camera.focal_px / (np.arange(start, camera.height) + 0.5 - camera.horizon_px)
    depth = np.minimum(depth, rays.FAR_M).astype(np.float32)[:, None]
    u = np.float32(camera.uv_m[0]) + depth * directions[:, 0].astype(np.float32)
    v = np.float32(camera.uv_m[1]) + depth * directions[:, 1].astype(np.float32)
    codes = ground.surface(scene, u, v, depth / np.float32(camera.focal_px))
    colours = ground.palette(scene)
    colours[ground.ASPHALT] *= 1 - 0.3 * conditions.wet
    cells = len(kit.patches) - 1
    patch = kit.patches[(u * 2).astype(np.int32) & cells, (v * 2).astype(np.int32) & cells]
    through = np.exp(-conditions.haze * depth)
    lit = patch * (np.float32(0.07) * np.clip(12 / depth, 0, 1) * through) + through
    veil = haze * (1 - through)
    for band in range(3):
        image[band, start:] = colours[:, band][codes] * lit + veil[band]


def _paint_walls(
    image: Floats32, scene: Scene, camera: Camera, conditions: Conditions, hits: rays.Hits, haze: Floats32
) -> None:
    lots = scene.lots
    height, roof_m = lots.height_m[hits.lot], lots.roof_m[hits.lot]
    depth = hits.depth_m.astype(np.float32)
    px_m = np.float32(camera.focal_px) / depth  # pixels a metre, upright
    top_px = np.where(hits.found, camera.horizon_px - (height + roof_m - CAMERA_M) * px_m, camera.horizon_px)
    base_px = np.where(hits.found, camera.horizon_px + CAMERA_M * px_m, camera.horizon_px)
    start, stop = max(0, int(top_px.min())), min(camera.height, int(base_px.max()) + 1)
    if start >= stop:
        return
    rows = (np.arange(start, stop) + 0.5).astype(np.float32)[:, None]
    z = np.float32(CAMERA_M) + (np.float32(camera.horizon_px) - rows) / px_m
    through = np.exp(-conditions.haze * depth).astype(np.float32)
    light = (np.float32(0.82) + np.float32(0.18) * np.clip(z * np.float32(0.2), 0, 1)) * through
    glass, sill, sign = _pattern(z, scene, hits, px_m)
    light *= 1 + np.float32(0.10) * sill
    sun, roof = _sunlight(scene, conditions, hits), z > height
    reflection = 0.10 * np.array(scene.land.sky)
    inside = (rows >= top_px) & (rows < base_px)
    for band in range(3):
        wall = lots.facade[hits.lot, band] * sun
        pane = (lots.glass[hits.lot, band] * 0.8 + reflection[band]).astype(np.float32)
        colour = wall + glass * (pane - wall)
        np.copyto(colour, lots.sign[hits.lot, band], where=sign)
        np.copyto(colour, lots.roof[hits.lot, band], where=roof)
        colour *= light
        colour += haze[band, 0, 0] * (1 - through)
        np.copyto(image[band, start:stop], colour, where=inside)


def _sunlight(scene: Scene, conditions: Conditions, hits: rays.Hits) -> Floats32:
    """Brightness of the faces: [W]."""
    normals = scene.city.bearing_deg + np.array([270.0, 90.0, 180.0, 0.0])
    lit = 1 + conditions.contrast * np.cos(np.radians(normals - conditions.sun_deg))
    edge = np.mod(hits.along_m, LOT_M)
    seam = np.where(np.minimum(edge, LOT_M - edge) < 0.22, 0.86, 1.0)
    return np.asarray(lit[hits.side] * seam, np.float32)


def _pattern(
    z: Floats32, scene: Scene, hits: rays.Hits, px_m: Floats32
) -> tuple[Floats32, Floats32, NDArray[np.bool_]]:
    """Shares of glass and of window sills, and where shop signs are: [R, W] each."""
    lots = scene.lots
    floor, bay, share = lots.floor_m[hits.lot], lots.bay_m[hits.lot], lots.window[hits.lot]
    along = np.mod(hits.along_m, LOT_M).astype(np.float32)
    step = np.abs(np.gradient(hits.along_m))  # metres of wall a column
    sharp_x = np.clip(1.6 - 2.0 * step / bay, 0, 1).astype(np.float32)
    sharp_y = np.clip(1.4 - 3.0 / (px_m * floor), 0, 1).astype(np.float32)
    across = np.abs(np.mod(along / bay, 1) - 0.5) < share / 2
    across_share = np.float32(0.9) * (sharp_x * across + (1 - sharp_x) * share)
    storey = z * (1 / floor)
    up = storey - np.floor(storey)
    pane = (up > np.float32(0.28)) & (up < np.float32(0.80))
    glass = pane * (sharp_y * across_share) + (1 - sharp_y) * np.float32(0.5) * across_share
    shop = lots.shop[hits.lot] > 0
    street_floor = (storey < 1) & shop
    door_free = np.float32(0.77) * (np.mod(along, 4.3) > 0.35)
    np.copyto(glass, ((up > np.float32(0.10)) & (up < np.float32(0.74))) * door_free, where=street_floor)
    glass *= z < lots.height_m[hits.lot] - np.float32(0.7)
    sill = ((up > np.float32(0.20)) & (up < np.float32(0.28)) & (storey > 1)) * sharp_y
    sign = (storey > np.float32(0.78)) & (storey < np.float32(1.05)) & shop
    return glass, sill, sign


def _paint_things(
    image: Floats32,
    scene: Scene,
    kit: Kit,
    camera: Camera,
    conditions: Conditions,
    hits: rays.Hits,
    traffic: sprites.Traffic,
    time_s: float,
    haze: Floats32,
) -> None:
    """Trees, lamps and cars, far ones first."""
    tree = kit.trees[kit.TREE_KINDS.index(scene.city.tree)]
    wide = {"round": 0.95, "tall": 0.5, "palm": 0.62}[scene.city.tree]
    tall = {"round": 1.0, "tall": 1.35, "palm": 1.25}[scene.city.tree]
    depths, draws = [], []
    for things, picture, aspect, scale in ((scene.trees, tree, wide, tall), (scene.lamps, kit.lamp, 0.16, 1.0)):
        seen, depth, x = _seen(things.uv_m, camera)
        for k, d, centre in zip(seen, depth, x, strict=True):
            height = float(things.height_m[k]) * scale
            depths.append(d)
            draws.append((picture, centre, height * aspect / scale, height, things.tint[k]))
    cars_uv = traffic.uv_m + time_s * traffic.step_m
    seen, depth, x = _seen(cars_uv, camera, nearest_m=4.0)
    for k, d, centre in zip(seen, depth, x, strict=True):
        offset = cars_uv[k] - camera.uv_m
        if traffic.step_m[k].any() and abs(offset @ camera.aside) < 2.2 and d < 14:
            continue  # in the camera's own lane: it would drive through
        sight = np.abs(offset / np.hypot(*offset))
        end_on, side_on = (sight[1], sight[0]) if traffic.along_v[k] else (sight[0], sight[1])
        width, length, height = sprites.CAR_SIZE_M
        depths.append(d)
        picture = kit.car_end if end_on > side_on * 1.5 else kit.car_side
        draws.append((picture, centre, end_on * width + side_on * length, height, traffic.tint[k]))
    for n in np.argsort(depths)[::-1]:
        d, (picture, centre, width_m, height_m, tint) = depths[n], draws[n]
        scale = camera.focal_px / d
        bottom = camera.horizon_px + CAMERA_M * scale
        box = (centre - width_m * scale / 2, bottom - height_m * scale, centre + width_m * scale / 2, bottom)
        veil = (float(np.exp(-conditions.haze * d)), haze[:, :, 0])
        sprites.paste(image, hits.depth_m, picture, box, d, tint, veil)


def _seen(uv_m: Floats, camera: Camera, nearest_m: float = 1.5) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Which things [P, 2] may be in view, their depth, and the image column of their middle."""
    offset = uv_m - camera.uv_m
    depth, aside = offset @ camera.ahead, offset @ camera.aside
    edge = depth * (camera.width / 2 / camera.focal_px) + 4
    seen = np.flatnonzero((depth > nearest_m) & (depth < THINGS_REACH_M) & (np.abs(aside) < edge))
    return seen, depth[seen], camera.width / 2 + camera.focal_px * aside[seen] / depth[seen]


def build_kit(seed: int) -> Kit:
    """Draw what all views share."""
    rng = np.random.default_rng([seed, 4])
    cells = 128
    wave = np.arange(cells) * 2 * np.pi / cells
    patches = np.zeros((cells, cells))
    for _ in range(40):
        k, m = rng.integers(-24, 25, 2)
        patches += np.cos(k * wave[:, None] + m * wave[None] + rng.uniform(0, 2 * np.pi)) / np.sqrt(20)
    return Kit(
        trees=tuple(sprites.tree_picture(kind, rng) for kind in Kit.TREE_KINDS),
        lamp=sprites.lamp_picture(),
        car_end=sprites.car_picture("end"),
        car_side=sprites.car_picture("side"),
        grain=rng.normal(size=(512, 512)).astype(np.float32),
        patches=patches.astype(np.float32),
    )
