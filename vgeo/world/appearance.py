"""How places look: smooth random functions of position, so that near places look alike and far ones differ.

A field is a sum of random waves over the Earth's surface (random Fourier features of a Gaussian kernel: Rahimi &
Recht, 2007): the correlation of two places is about exp(-d^2 / 2 length^2) at distance d. Fields of three lengths
(city, district, block) are added with weights; a continent's and a city's own style lie under them (cities.py).

Shapes: N places, C channels.
"""

import numpy as np
from numpy.typing import NDArray

from vgeo.geo import sphere

Floats = NDArray[np.float64]

LENGTHS_M = (40_000.0, 260.0, 55.0)  # city, district, block
CHANNELS = ("light", "warm", "red", "green", "height", "shops", "bay", "glass", "roof", "texture")
# How much each length contributes to each channel, in the order of CHANNELS. Greenery and shops belong to
# districts; colours change most from block to block.
WEIGHTS = np.array(
    [
        [0.4, 0.4, 0.4, 0.3, 0.4, 0.2, 0.6, 0.5, 0.5, 0.5],
        [0.6, 0.6, 0.6, 0.8, 0.7, 0.8, 0.6, 0.6, 0.6, 0.6],
        [0.7, 0.7, 0.7, 0.5, 0.6, 0.6, 0.5, 0.6, 0.6, 0.6],
    ]
)
WAVES = 64


class Field:
    """A smooth random function on the Earth: about zero mean and unit variance in each channel."""

    def __init__(self, rng: np.random.Generator, length_m: float, channels: int) -> None:
        self._waves = rng.normal(0.0, 1.0 / length_m, (3, WAVES))  # radians a metre
        self._phases = rng.uniform(0.0, 2 * np.pi, WAVES)
        self._weights = rng.normal(0.0, np.sqrt(2.0 / WAVES), (WAVES, channels))

    def __call__(self, latlon_deg: Floats) -> Floats:
        """Values [N, C] at positions [N, 2]."""
        points_m = sphere.unit_vectors(latlon_deg) * (sphere.EARTH_RADIUS_KM * 1000)
        values: Floats = np.cos(points_m @ self._waves + self._phases) @ self._weights
        return values


class Appearance:
    """All channels at once, over all lengths."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self._fields = [Field(rng, length_m, len(CHANNELS)) for length_m in LENGTHS_M]

    def __call__(self, latlon_deg: Floats) -> Floats:
        """Channels [N, C] (see CHANNELS) at positions [N, 2], each roughly standard normal."""
        return np.asarray(
            sum(field(latlon_deg) * weights for field, weights in zip(self._fields, WEIGHTS, strict=True))
        )


def channel(values: Floats, name: str) -> Floats:
    """One named channel of [N, C]."""
    return values[:, CHANNELS.index(name)]


def tinted(base: Floats, light: Floats, warm: Floats, red: Floats, strength: float) -> Floats:
    """Shift colours [N, 3] in lightness, along yellow-blue and along red-green; stays in [0.06, 0.97].

    `strength` is the shift in RGB units for a channel value of 1.
    """
    # Warm is cream to slate, red is brick to sage: the colours of plaster and stone, no lilac.
    axes = np.array([[0.9, 0.9, 0.9], [0.55, 0.20, -0.75], [0.62, -0.38, -0.55]])
    shifts = np.stack([light, warm, red], axis=-1) @ axes
    return np.clip(base + strength * shifts, 0.06, 0.97)
