"""What is said before a run begins."""

import numpy as np
import pytest

from tests.training.worlds import Tiny, TinyConfig
from vgeo.geo.sphere import distance_km
from vgeo.training.cautions import cautions, far_off_km
from vgeo.training.data import Frames
from vgeo.training.loop import Options


def test_the_floor_under_any_answer_is_the_nearest_place() -> None:
    rng = np.random.default_rng(0)
    frames, places = rng.uniform([-80, -180], [80, 180], (300, 2)), rng.uniform([-80, -180], [80, 180], (70_000, 2))
    literal = np.median([distance_km(frame, places).min() for frame in frames])
    assert far_off_km(frames, places) == pytest.approx(literal)
    across = far_off_km(np.array([[-17.0, 179.99]]), np.array([[0.0, 0.0], [-17.0, -179.99]]))
    assert across == pytest.approx(0.02 * 111.195 * np.cos(np.radians(17)), rel=1e-3)


def test_a_gallery_elsewhere_is_named() -> None:
    frames = Frames(np.arange(8), np.full((8, 2), 50.0), np.array([0, 4, 8]), ("a", "b"))
    method = Tiny(TinyConfig(epochs=100))
    assert cautions(method, ["body"], Options(), frames, 0.2) == []
    (said,) = cautions(method, ["body"], Options(), frames, 8000.0)
    assert "8,000 km" in said and "build-gallery" in said


def test_a_warm_up_of_more_than_half_the_steps_is_named() -> None:
    frames = Frames(np.arange(8), np.full((8, 2), 50.0), np.array([0, 4, 8]), ("a", "b"))  # a step an epoch
    assert cautions(Tiny(TinyConfig(epochs=8)), ["body"], Options(), frames, 0.2) == []
    (said,) = cautions(Tiny(TinyConfig(epochs=7)), ["body"], Options(), frames, 0.2)
    assert said.startswith("4 warm-up steps, but phase body has 7")
