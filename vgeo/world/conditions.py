"""What differs between two drives through the same street: light, weather, traffic, the camera.

None of it says where the camera is; a system has to learn to look past it.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The nuisance of one drive."""

    seed: int = 0  # of traffic, parked cars, clouds and the camera's shake
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)  # colour of the light: exposure and time of day
    sun_deg: float = 150.0  # azimuth of the sun; faces turned to it are brighter
    contrast: float = 0.16  # by how much
    haze: float = 0.0025  # share of the view lost in a metre
    clouds: float = 0.4
    wet: float = 0.0  # darkens the carriageway
    cars: float = 0.25  # share of kerb places taken
    shake_deg: float = 0.0
    noise: float = 0.0  # of the sensor, in [0, 1] units


CLEAR = Conditions(cars=0.0)


def draw_conditions(rng: np.random.Generator) -> Conditions:
    """A random day."""
    overcast = rng.random() < 0.35
    golden = rng.uniform(0.0, 1.0) ** 3  # low sun is rare
    exposure = rng.uniform(0.82, 1.12) * (0.92 if overcast else 1.0)
    light = exposure * (np.array([1.0, 1.0, 1.0]) + golden * np.array([0.10, -0.02, -0.16]))
    light += rng.normal(0.0, 0.015, 3)  # white balance
    return Conditions(
        seed=int(rng.integers(2**31)),
        light=(float(light[0]), float(light[1]), float(light[2])),
        sun_deg=float(rng.uniform(0, 360)),
        contrast=float(0.05 if overcast else rng.uniform(0.12, 0.24)),
        haze=float(rng.uniform(0.001, 0.006)),
        clouds=float(rng.uniform(0.75, 1.0) if overcast else rng.uniform(0.05, 0.6)),
        wet=float(rng.uniform(0.3, 1.0) if overcast and rng.random() < 0.5 else 0.0),
        cars=float(rng.uniform(0.08, 0.4)),
        shake_deg=float(rng.uniform(0.05, 0.25)),
        noise=float(rng.uniform(0.004, 0.016)),
    )
