"""Where long videos are cut, and which frames are taken of a clip."""

from fractions import Fraction

import numpy as np
import pytest

from vgeo.errors import InputError, UsageError
from vgeo.video.cutting import Cutting
from vgeo.video.sampling import Sampling


def test_clips_of_the_papers_length_wherever_that_is_possible() -> None:
    cutting = Cutting(clip_frames=850)
    assert (cutting.shortest, cutting.longest) == (800, 900)  # CityGuessr, section 3
    for frames in range(800, 20_000, 7):
        edges = cutting.edges(frames, "x")
        lengths = np.diff(edges)
        assert edges[0] == 0 and edges[-1] <= frames and len(lengths) >= 1
        possible = [k for k in range(1, 40) if 800 <= frames / k <= 900]  # oracle: equal parts, tried one by one
        if possible:
            assert edges[-1] == frames and len(lengths) == min(possible, key=lambda k: abs(frames / k - 850))
            assert lengths.min() >= 800 and lengths.max() <= 900 and np.ptp(lengths) <= 1
        else:
            assert set(lengths.tolist()) == {850} and frames - edges[-1] < 800, "what is left out is no clip"


@pytest.mark.parametrize("frames", [0, 1, 799])
def test_too_short_for_a_clip(frames: int) -> None:
    with pytest.raises(InputError, match=f"tokyo.mp4: {frames} frames are too few for a clip of 800 to 900"):
        Cutting(clip_frames=850).edges(frames, "tokyo.mp4")


@pytest.mark.parametrize(("length", "taken"), [(850, 100), (801, 100), (40, 40), (40, 39), (7, 1)])
def test_frames_are_the_middles_of_equal_parts(length: int, taken: int) -> None:
    got = Cutting(clip_frames=length, frames_per_clip=taken).taken(length).tolist()
    part = Fraction(length, taken)
    assert got == [int(part * k + part / 2) for k in range(taken)]
    assert len(set(got)) == taken and set(np.diff(got)) <= {int(part), int(part) + 1}


def test_one_way_of_choosing_frames() -> None:
    for way in ("rate_hz", "every_s", "every_m", "count", "stride"):
        with pytest.raises(UsageError, match=f"--clip-frames and --{way.replace('_', '-')}: give one"):
            Cutting(clip_frames=850).check(Sampling(**{way: 1}))
    Cutting(clip_frames=850).check(Sampling(start_s=3, end_s=80))
    with pytest.raises(UsageError, match="--frames-per-clip 100: more than the 99 frames of a clip"):
        Cutting(clip_frames=99)


def test_no_clip_has_fewer_frames_than_are_taken() -> None:
    cutting = Cutting(clip_frames=100)
    assert (cutting.shortest, cutting.longest) == (100, 105)
    assert cutting.edges(198, "x").tolist() == [0, 100]
