"""Videos whose pictures say which they are, and tiles that do: a number is a colour."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgeo.training.moment_set import MomentSet

SHAPE = (4, 6)


def colour(number: int) -> tuple[int, int, int]:
    return number % 256, number // 256 % 256, 255 - number % 256


def number_of(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The numbers of pictures [..., H, W, 3], all of whose pixels are of one colour."""
    flat = np.asarray(pixels, np.int64).reshape(*pixels.shape[:-3], -1, 3)
    assert (flat == flat[..., :1, :]).all()
    return flat[..., 0, 0] + 256 * flat[..., 0, 1]


class Tiles:
    """Pictures of rows, as TilePictures gives them."""

    def __init__(self, count: int, size_px: int = 4) -> None:
        self.count, self.size_px = count, size_px
        self.read_rows: list[int] = []

    def __len__(self) -> int:
        return self.count

    def read(self, row: int) -> NDArray[np.uint8]:
        assert 0 <= row < self.count
        self.read_rows.append(row)
        return np.full((self.size_px, self.size_px, 3), colour(row), np.uint8)


def write_moments(
    folder: Path, seconds: list[int], rate_hz: float = 15.0, first_tile: int = 0, tail_s: float = 1.0
) -> MomentSet:
    """Videos of so many seconds, all with a place; picture i is of colour i, second m has tile first_tile + m."""
    names, picture_time_s, first_picture, number = [], [], [0], 0
    for video, count in enumerate(seconds):
        (folder / f"v{video}").mkdir(parents=True)
        time_s = np.arange(round((count - 1 + tail_s) * rate_hz)) / rate_hz
        for i in range(len(time_s)):
            Image.new("RGB", SHAPE[::-1], colour(number)).save(folder / f"v{video}" / f"{i:03d}.png")
            number += 1
        names.append(tuple(f"{i:03d}.png" for i in range(len(time_s))))
        picture_time_s.append(time_s)
        first_picture.append(number)
    total = sum(seconds)
    return MomentSet(
        path=folder,
        video_ids=[f"{folder.name}-v{video}" for video in range(len(seconds))],
        first_row=np.cumsum([0, *seconds]),
        latlon_deg=np.stack([np.arange(total) / 1000, np.arange(total) / 500], axis=1),
        labels={},
        time_s=np.concatenate([np.arange(count, dtype=float) for count in seconds]),
        tile_M=np.arange(total) + first_tile,
        first_picture=np.array(first_picture),
        picture_time_s=np.concatenate(picture_time_s),
        folders=[str(folder / f"v{video}") for video in range(len(seconds))],
        names=names,
    )
