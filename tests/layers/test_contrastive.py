"""Distances between positions of a batch, near and far, against the great circle."""

import numpy as np
import pytest
import torch

from vgeo.geo.sphere import EARTH_RADIUS_KM, distance_km
from vgeo.layers.contrastive import squared_chords_km2


@pytest.mark.parametrize("metres", [3.0, 30.0, 3000.0])
def test_neighbours_are_as_far_apart_as_on_the_ground(metres: float) -> None:
    rng = np.random.default_rng(0)
    here = rng.uniform((-60, -180), (60, 180), (20, 2))
    there = here + rng.choice([-1, 1], (20, 2)) * metres / 111_195
    found = squared_chords_km2(torch.from_numpy(here), torch.from_numpy(there))
    assert found.dtype is torch.float32
    assert np.allclose(found.diagonal().sqrt(), distance_km(here, there), rtol=5e-3)


def test_a_chord_goes_through_the_earth() -> None:
    places = torch.tensor([[0.0, 0.0], [0.0, 90.0], [0.0, 180.0], [90.0, 45.0]], dtype=torch.float64)
    found = squared_chords_km2(places[:1], places)[0] / EARTH_RADIUS_KM**2
    assert torch.allclose(found, torch.tensor([0.0, 2.0, 4.0, 2.0]))
