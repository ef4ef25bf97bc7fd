"""Faces in a real photograph are blurred, and nothing else is."""

import sys
from types import ModuleType

import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from PIL import Image

from vgeo.errors import MissingModelError
from vgeo.video.faces import FaceBlur


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """Grace Hopper (U.S. Navy, public domain), 256 x 300: the face lies within x 80..177, y 65..160."""
    with get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB").resize((256, 300)))


@pytest.fixture(scope="module")
def blur() -> FaceBlur:
    pytest.importorskip("cv2", reason="the extra 'faces' is not installed")
    return FaceBlur()


def detail(image: np.ndarray) -> float:
    """Mean difference between neighbours."""
    return float(np.abs(np.diff(image.astype(np.float64), axis=1)).mean())


def test_a_face_is_gone_and_the_rest_is_as_it_was(portrait: np.ndarray, blur: FaceBlur) -> None:
    before = portrait.copy()
    blurred, faces = blur(portrait)
    assert faces == 1 and np.array_equal(portrait, before)
    changed = (blurred != portrait).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert rows[0] < 65 and rows[-1] > 160 and columns[0] < 80 and columns[-1] > 177, "all of the face"
    assert changed[200:].sum() == 0 and changed.mean() < 0.4, "the uniform stays"
    face = np.s_[65:160, 80:177]
    assert detail(blurred[face]) < 0.35 * detail(portrait[face])


def test_small_faces_several_and_at_the_edge(portrait: np.ndarray, blur: FaceBlur) -> None:
    small = np.asarray(Image.fromarray(portrait).resize((128, 150)))
    scene = np.full((320, 480, 3), 200, np.uint8)
    scene[20:170, 20:148] = scene[120:270, 300:428] = small
    assert blur(scene)[1] == 2
    cut = np.ascontiguousarray(portrait[45:, 65:])  # the enlarged box leaves the picture
    assert blur(cut)[1] == 1


class Finds:
    """A cascade that finds a box in upright pictures, and one in what it takes for mirrored ones."""

    def __init__(self, upright: list[tuple[int, int, int, int]], mirrored: list[tuple[int, int, int, int]]) -> None:
        self.upright, self.mirrored = upright, mirrored

    def detectMultiScale(self, grey: np.ndarray, step: float, hits: int) -> list[tuple[int, int, int, int]]:  # noqa: N802
        return self.upright if grey[0, 0] < grey[0, -1] else self.mirrored


def test_a_box_is_enlarged_to_all_sides_and_one_of_the_mirrored_picture_turned_back(
    blur: FaceBlur, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(60, 200, (100, 120, 3), np.uint8)
    noise[0, 0], noise[0, -1] = 0, 255
    monkeypatch.setattr(blur, "_cascades", [(Finds([(30, 40, 20, 40)], []), 3, False)])
    changed = (blur(noise)[0] != noise).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert [*rows[[0, -1]], *columns[[0, -1]]] == [34, 85, 27, 52], "x 1.3: 6 pixels above and below, 3 at the sides"
    monkeypatch.setattr(blur, "_cascades", [(Finds([], [(10, 5, 20, 30)]), 4, True)])
    assert blur._find(noise).tolist() == [[90, 5, 20, 30]], "it was 10 pixels from the edge, and is"


def test_nothing_to_blur(blur: FaceBlur) -> None:
    y, x = np.mgrid[:96, :128]
    for image in (np.zeros((5, 7, 3), np.uint8), np.stack([x, y, x + y], axis=2).astype(np.uint8)):
        blurred, faces = blur(image)
        assert faces == 0 and blurred is image


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingModelError, match=r"pip install 'vgeo\[faces\]'"):
        FaceBlur()
    later = ModuleType("cv2")
    later.__version__ = "5.0.0"
    monkeypatch.setitem(sys.modules, "cv2", later)
    with pytest.raises(MissingModelError, match=r"OpenCV 5.0.0 has no face cascades any more; pip install .*<5"):
        FaceBlur()
