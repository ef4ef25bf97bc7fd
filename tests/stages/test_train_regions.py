"""Which tiles and which region a video is trained with."""

import logging

import mercantile
import numpy as np
import pytest
from rankingmaker import of_lists

from vgeo.errors import InputError
from vgeo.formats.gallery import Gallery
from vgeo.stages.train_regions import best_of_videos, regions_of
from vgeo.training.data import Frames

X, Y = 154_000, 197_000


def middle(x: float, y: float) -> tuple[float, float]:
    """Position so many tiles east and south of the first."""
    box = mercantile.bounds(X + int(x), Y + int(y), 19)
    return box.north + (box.south - box.north) * (y % 1), box.west + (box.east - box.west) * (x % 1)


def blocks(*starts: tuple[int, int], **labels: list[str]) -> Gallery:
    """Regions of 7 x 7 tiles."""
    return Gallery(
        latlon_deg=np.array([middle(x + 3.5, y + 3.5) for x, y in starts]),
        labels={name: np.array(values, object) for name, values in labels.items()},
        attributes={"kind": "regions", "zoom": 19, "across": 7},
    )


def frames(**tracks: list[tuple[float, float]]) -> Frames:
    places = [middle(x, y) for track in tracks.values() for x, y in track]
    first = np.cumsum([0, *map(len, tracks.values())])
    return Frames(np.arange(len(places)), np.array(places), first, tuple(tracks))


def test_clips_are_in_the_order_of_their_seconds_and_sequences_as_they_are() -> None:
    rankings = of_lists({
        "b_10": ["t10", "x"], "b_2": ["t2"], "a_b_0": ["t0"], "b_1": [], "b_3": ["t3", "t2"],
        "published": ["p1", "p0", "p1"], "b_x": ["q"], "_3": ["r"],
    })  # fmt: skip
    assert best_of_videos(rankings) == {
        "b": ["t2", "t3", "t10"], "a_b": ["t0"], "published": ["p1", "p0", "p1"], "b_x": ["q"], "_3": ["r"],
    }  # fmt: skip


def test_the_region_is_that_with_the_nearest_middle() -> None:
    some = frames(v=[(4.6, 3.5), (6.8, 3.5)], w=[(1.0, 1.0)])  # v in both blocks, its middle nearer to the second's
    assert regions_of(some, blocks((0, 0), (4, 0), (-40, 0))).tolist() == [1, 0]


def test_a_video_in_no_region_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert regions_of(frames(v=[(3.0, 3.0)], w=[(9.0, 3.0)]), blocks((0, 0))).tolist() == [0, 0]
    assert "1 videos lie in none of the regions, w first" in caplog.text
    with pytest.raises(InputError, match="is in one of 1 regions"):
        regions_of(frames(v=[(30.0, 3.0)]), blocks((0, 0)))


def test_a_video_with_a_region_of_its_own_takes_that() -> None:
    own = blocks((0, 0), (4, 0), video=["w", "v"])
    assert regions_of(frames(v=[(1.0, 1.0)], w=[(90.0, 1.0)]), own).tolist() == [1, 0]
    with pytest.raises(InputError, match="1 videos have no region in the gallery, u first"):
        regions_of(frames(u=[(1.0, 1.0)], v=[(1.0, 1.0)]), own)
