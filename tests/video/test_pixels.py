"""Colours and sizes come out right: against the formulas of BT.601 and BT.709, and against means of areas."""

import av
import numpy as np
import pytest

from vgeo.video.pixels import Converter, Shape


def frame_of(y: np.ndarray, u: int = 128, v: int = 128, colorspace: int = 5) -> av.VideoFrame:
    """A picture of brightness [H, W] and one colour, with the range of video."""
    height, width = y.shape
    chroma = [np.full((height // 4, width), value, np.uint8) for value in (u, v)]
    frame = av.VideoFrame.from_ndarray(np.concatenate([y.astype(np.uint8), *chroma]), format="yuv420p")
    frame.colorspace = colorspace
    return frame


@pytest.mark.parametrize(
    ("colorspace", "red_of_v", "blue_of_u", "green"),
    [(5, 1.596, 2.017, (0.392, 0.813)), (1, 1.793, 2.112, (0.213, 0.533))],
)
@pytest.mark.parametrize("size", [None, 16, 96])
def test_colours(
    colorspace: int, red_of_v: float, blue_of_u: float, green: tuple[float, float], size: int | None
) -> None:
    rng = np.random.default_rng(0)
    for y, u, v in rng.integers((60, 90, 90), (180, 166, 166), (20, 3)):
        image = Converter(Shape(size))(frame_of(np.full((64, 64), y), int(u), int(v), colorspace))
        light = 255 / 219 * (y - 16)
        wanted = [light + red_of_v * (v - 128), light - green[0] * (u - 128) - green[1] * (v - 128),
                  light + blue_of_u * (u - 128)]  # fmt: skip
        assert image.shape == (size or 64, size or 64, 3)
        assert np.ptp(image.reshape(-1, 3), axis=0).max() <= 1, "one colour stays one colour"
        error = image.reshape(-1, 3).mean(axis=0) - np.clip(wanted, 0, 255)
        assert np.abs(error).max() < (2.6 if size is None else 1.1)


def test_a_pixel_of_a_small_picture_is_the_mean_of_its_area() -> None:
    y = np.random.default_rng(1).integers(16, 236, (64, 96))
    image = Converter(Shape(8))(frame_of(y))
    assert image.shape == (8, 12, 3)
    wanted = 255 / 219 * (y.reshape(8, 8, 12, 8).mean(axis=(1, 3)) - 16)
    assert np.abs(image - wanted[..., None]).max() < 2
    assert abs((image - wanted[..., None]).mean()) < 0.5
