"""What held-out clips are searched among while a method learns."""

import numpy as np

from vgeo.formats.gallery import Gallery
from vgeo.stages.train_aerial import held_out_rows
from vgeo.training.data import Frames, Split

SOME = Frames(np.arange(1), np.zeros((1, 2)), np.array([0, 1]), ("v",))


def gallery(*splits: str) -> Gallery:
    places = np.arange(2.0 * len(splits)).reshape(-1, 2)
    return Gallery(latlon_deg=places, labels={"split": np.array(splits, object)} if any(splits) else {})


def rows(places: Gallery, val: Frames | None = SOME) -> list[float]:
    found: list[float] = held_out_rows(places, Split(SOME, val, (), "")).latlon_deg[:, 0].tolist()
    return found


def test_published_clips_of_validation_are_searched_among_its_tiles() -> None:
    """As in the paper's evaluation: tiles of training are not in the gallery."""
    assert rows(gallery("train", "val", "val", "train")) == [2, 4]


def test_a_gallery_that_knows_no_validation_is_searched_whole() -> None:
    assert rows(gallery("train", "test")) == rows(gallery("", "")) == [0, 2]
    assert rows(gallery("train", "val"), None) == [0, 2]
