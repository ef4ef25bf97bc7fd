"""Records refuse what cannot be: every file of every format passes through these checks."""

import time
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from vgeo.errors import FormatError
from vgeo.records import Localization, Track, check_latlon, format_utc, parse_utc

START = datetime(2024, 6, 1, 12, tzinfo=UTC)


def track(**changes: object) -> Track:
    given: dict = {"video_id": "a", "latlon_deg": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
    return Track(**(given | changes))


@pytest.mark.parametrize("place", [[90, 0], [-90, 360], [0, -360], [0, 180]])
def test_the_earth_ends_where_it_does(place: list[float]) -> None:
    check_latlon(np.array([place], float), "x")
    for beyond in (np.nextafter(np.array(place, float), np.inf), np.nextafter(np.array(place, float), -np.inf)):
        if abs(beyond[0]) > 90 or abs(beyond[1]) > 360:
            with pytest.raises(FormatError, match="not on the Earth"):
                check_latlon(beyond[None], "x")


@pytest.mark.parametrize("place", [[np.nan, 0], [0, np.nan], [np.inf, 0], [0, -np.inf]])
def test_half_a_position_is_none(place: list[float]) -> None:
    for allow_nan in (True, False):
        with pytest.raises(FormatError, match="position 1 is not on the Earth"):
            check_latlon(np.array([[1, 2], place], float), "x", allow_nan)


def test_unknown_positions_pass_only_where_they_may() -> None:
    unknown = np.full((1, 2), np.nan)
    check_latlon(unknown, "x", allow_nan=True)
    with pytest.raises(FormatError):
        check_latlon(unknown, "x")
    with pytest.raises(FormatError, match="latitude and longitude swapped"):
        check_latlon(np.array([[120.0, 30.0]]), "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_s": np.array([0.0, 2.0, 1.0])}, "times run backwards"),
        ({"time_s": np.array([0.0, 1.0])}, "2 of time_s for 3 positions"),
        ({"time_s": np.array([0.0, np.nan, 1.0])}, "a time is not finite"),
        ({"frame_index": np.array([1, 2])}, "2 of frame_index for 3 positions"),
        ({"latlon_deg": np.zeros(2)}, r"expected \[T, 2\]"),
        ({"start_utc": datetime(2024, 6, 1)}, "no time zone"),
    ],
)
def test_tracks_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        track(**changes)


def test_two_fixes_may_share_a_moment() -> None:
    made = track(time_s=np.array([0.0, 0.5, 0.5]), start_utc=START)
    assert made.timestamps_utc() == [START, START + timedelta(seconds=0.5), START + timedelta(seconds=0.5)]
    assert track(start_utc=START).timestamps_utc() is None
    assert track(time_s=np.zeros(3)).timestamps_utc() is None


@pytest.mark.parametrize("changes", [{"confidence": np.zeros(2)}, {"candidate_scores": np.zeros((3, 2))},
                                     {"places": ("Paris",)}, {"candidates_deg": np.zeros((2, 4, 2))}])  # fmt: skip
def test_localizations_speak_of_every_frame(changes: dict[str, object]) -> None:
    given: dict = {
        "track": track(),
        "method": "m",
        "confidence": np.zeros(3),
        "radius_km": np.zeros(3),
        "candidates_deg": np.zeros((3, 4, 2)),
        "candidate_scores": np.zeros((3, 4)),
        "places": ("Paris",) * 3,
    }
    Localization(**given)
    with pytest.raises(FormatError, match="localization of a: "):
        Localization(**(given | changes))


@pytest.mark.parametrize("zone", ["UTC0", "XYZ-9", "XYZ+5"])
def test_a_time_without_zone_is_utc_wherever_the_machine_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_utc(" 2024-06-01T12:00:00 ") == START
        assert parse_utc("2024-06-01T21:00:00+09:00") == START
        assert format_utc(START.astimezone(timezone(timedelta(hours=9)))) == "2024-06-01T12:00:00.000Z"
    finally:
        monkeypatch.undo()
        time.tzset()
    with pytest.raises(FormatError, match="not an RFC 3339 time"):
        parse_utc("yesterday")
