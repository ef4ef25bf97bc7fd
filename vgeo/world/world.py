"""The procedural world: real cities, made-up streets, and an appearance that says where one is.

    world = World(seed=0)
    drive = world.drive("Lisbon", np.random.default_rng(1), seconds=20)
    frame = world.render(drive.latlon_deg[0], drive.heading_deg[0])        # uint8 [H, W, 3]
    tile = world.render_tile(*tiles.tile_of(drive.latlon_deg[0]))           # the same place from above

Everything follows from the seed. Cities are laid out when they are first needed.
"""

from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.geo import sphere, tiles
from vgeo.world import aerial, drives, sprites, street_view
from vgeo.world.appearance import Appearance
from vgeo.world.cities import CITIES, City
from vgeo.world.conditions import CLEAR, Conditions
from vgeo.world.scene import Scene, build_scene

FRAME_SIZE = (256, 144)  # width, height: GAMa's frames (256 x 144)


class World:
    """A world of `n_cities` cities (None: all of them), the same for the same seed."""

    def __init__(self, seed: int = 0, n_cities: int | None = None) -> None:
        self.seed = seed
        self.cities: tuple[City, ...] = CITIES[:n_cities]
        self._appearance = Appearance(seed)
        self._scenes: dict[str, Scene] = {}
        self._traffic = lru_cache(maxsize=4)(self._draw_traffic)

    def city(self, name: str) -> City:
        """The city of that name. Raises KeyError."""
        for city in self.cities:
            if city.name == name:
                return city
        raise KeyError(name)

    def city_at(self, latlon_deg: ArrayLike) -> City:
        """The city whose centre is nearest."""
        centres = np.array([[city.lat_deg, city.lon_deg] for city in self.cities])
        return self.cities[int(np.argmin(sphere.distance_km(centres, latlon_deg)))]

    def scene(self, city: City | str) -> Scene:
        """Streets, buildings and trees of a city."""
        name = city if isinstance(city, str) else city.name
        if name not in self._scenes:
            number = self.cities.index(self.city(name))
            self._scenes[name] = build_scene(self.city(name), self._appearance, self.seed, number)
        return self._scenes[name]

    def drive(
        self,
        city: City | str,
        rng: np.random.Generator,
        seconds: float,
        *,
        rate_hz: float = 10.0,
        radius_m: float | None = None,
    ) -> drives.Drive:
        """A random drive through a city, within `radius_m` of its centre along both axes of its grid."""
        return drives.wander(self.scene(city).streets, rng, seconds, rate_hz, radius_m)

    def render(
        self,
        latlon_deg: ArrayLike,
        heading_deg: float,
        *,
        conditions: Conditions = CLEAR,
        time_s: float = 0.0,
        size: tuple[int, int] = FRAME_SIZE,
    ) -> NDArray[np.uint8]:
        """The view from a place in a street: uint8 [H, W, 3] RGB, `size` = (W, H)."""
        scene = self.scene(self.city_at(latlon_deg))
        camera = street_view.place_camera(scene, np.asarray(latlon_deg, float), heading_deg, conditions, time_s, size)
        return street_view.view(
            scene, self._kit, camera, conditions, self._traffic(scene.city.name, conditions), time_s
        )

    def render_aerial(self, latlon_deg: ArrayLike, span_m: float, size_px: int = 256) -> NDArray[np.uint8]:
        """A square seen from above, north up, `span_m` on a side: uint8 [size_px, size_px, 3] RGB."""
        scene = self.scene(self.city_at(latlon_deg))
        return aerial.view(scene, self._kit, np.asarray(latlon_deg, float), span_m, size_px)

    def render_tile(self, x: int, y: int, zoom: int = tiles.ZOOM, size_px: int = 256) -> NDArray[np.uint8]:
        """The Web Mercator tile x, y: uint8 [size_px, size_px, 3] RGB."""
        centre, span_m = tiles.square_of(x, y, zoom)
        return self.render_aerial(centre, span_m, size_px)

    def _draw_traffic(self, city: str, conditions: Conditions) -> sprites.Traffic:
        return sprites.draw_traffic(self.scene(city), conditions)

    @cached_property
    def _kit(self) -> street_view.Kit:
        return street_view.build_kit(self.seed)
