"""Frames at their city's centre."""

import logging
from pathlib import Path

import numpy as np
import pytest
import worlds

from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery
from vgeo.training.centres import at_centres
from vgeo.training.data import split, usable_frames

CITIES = [
    ("São Paulo", "", "Brazil", -23.5, -46.6),
    ("Portland", "Oregon", "United States", 45.5, -122.7),
    ("Portland", "Maine", "United States", 43.7, -70.3),
    ("Hyderabad", "", "India", 17.4, 78.5),
    ("Hyderabad", "", "Pakistan", 25.4, 68.4),
    ("Kyoto", "Kyoto Prefecture", "Japan", 35.0, 135.8),
]
GALLERY = Gallery(
    latlon_deg=np.array([row[3:] for row in CITIES], np.float64),
    labels={name: np.array([row[i] for row in CITIES], object) for i, name in enumerate(("city", "state", "country"))},
)


def features(folder: Path, *labels: dict[str, str], unknown: float = 0.0, name: str = "f.h5"):
    return worlds.write_features(folder / name, len(labels), labels=labels, unknown=unknown)


def centres(file) -> list[tuple[float, float] | None]:
    """Each clip's one position."""
    found = []
    for video in range(len(file.video_ids)):
        places = np.unique(file.latlon_deg[file.rows(video)], axis=0)
        assert len(places) == 1 or np.isnan(places).all()
        found.append(None if np.isnan(places).any() else tuple(places[0]))
    return found


def test_every_frame_takes_its_citys_position(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = [
        {"city": "sao paulo"},
        {"city": "Portland", "state": "maine"},
        {"city": "Hyderabad", "country": "IND", "state": "Telangana"},
        {"city": "Hyderabad", "country": "Pakistan"},
        {"city": "Portland", "state": "Oregon", "country": "USA"},
        {"city": "Kyoto", "state": "Kansai", "country": "Japan"},  # the only one, whatever its state is called
    ]
    file = features(tmp_path, *labels, unknown=0.5)
    with caplog.at_level(logging.INFO):
        (moved,) = at_centres([file], GALLERY, "city")
    assert centres(moved) == [CITIES[n][3:] for n in (0, 2, 3, 4, 1, 5)]
    assert caplog.text == ""
    assert np.isnan(file.latlon_deg).any()  # the file itself is as it was
    frames = usable_frames([moved])
    assert len(frames) == len(file) and frames.video_ids == tuple(file.video_ids)


def test_clips_without_a_city_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = [
        {"city": "São Paulo", "country": "Brazil"},
        {"city": "São Paulo", "country": "Portugal"},  # another one
        {"city": "Portland"},  # which?
        {"city": "Lund", "country": "Sweden"},
        {"city": "Lund", "country": "Sweden"},
        {"country": "Brazil"},
    ]
    (moved,) = at_centres([features(tmp_path, *labels)], GALLERY, "city")
    assert centres(moved) == [CITIES[0][3:], None, None, None, None, None]
    (line,) = caplog.messages
    assert line.startswith("5 clips have no city in the gallery and are left out: Lund, Sweden (2), ")
    assert "Portland (1)" in line and "São Paulo, Portugal (1)" in line and "Brazil (1)" in line


def test_either_keeps_own_positions(tmp_path: Path) -> None:
    labels = [{"city": "São Paulo"}] * 2
    (own,) = at_centres([features(tmp_path, *labels, unknown=0.3)], GALLERY, "either")
    assert len(usable_frames([own])) < len(own) and np.nanmin(own.latlon_deg[:, 0]) > 50
    nowhere = features(tmp_path, *labels, unknown=1.0, name="g.h5")
    assert centres(at_centres([nowhere], GALLERY, "either")[0]) == [CITIES[0][3:]] * 2
    assert np.isfinite(at_centres([features(tmp_path, {}, name="h.h5")], GALLERY, "either")[0].latlon_deg).all()


def test_held_out_clips_likewise(tmp_path: Path) -> None:
    files = [features(tmp_path, *[{"city": "São Paulo"}, {"city": "Portland", "state": "Maine"}] * 3)]
    parts = split(at_centres(files, GALLERY, "city"), [], 0.34, 0)
    assert parts.val is not None
    assert {tuple(at) for at in parts.val.latlon_deg} <= {CITIES[0][3:], CITIES[2][3:]}


def test_what_cannot_be_done(tmp_path: Path) -> None:
    bare = worlds.write_features(tmp_path / "bare.h5", 2)
    with pytest.raises(FormatError, match=r"bare\.h5: its clips carry no label 'city'"):
        at_centres([bare], GALLERY, "city")
    with pytest.raises(InputError, match="build-gallery cities"):
        at_centres([bare], Gallery(latlon_deg=np.zeros((1, 2))), "city")
    with pytest.raises(FormatError, match=r"but in Lund \(2\)"):
        at_centres([features(tmp_path, {"city": "Lund"}, {"city": "Lund"})], GALLERY, "city")
    assert at_centres([], GALLERY, "city") == []


def test_other_names_of_a_city_are_that_city(tmp_path: Path) -> None:
    gallery = Gallery(
        latlon_deg=np.array([[12.97, 77.59], [55.68, 12.57]]),
        labels={"city": np.array(["Bengaluru", "Copenhagen"], object)},
    )
    (moved,) = at_centres([features(tmp_path, {"city": "Bangalore"}, {"city": "København"})], gallery, "city")
    assert centres(moved) == [(12.97, 77.59), (55.68, 12.57)]
