"""DJI subtitles: the twelve dialects that were collected, and cues made up for what they do not show."""

from pathlib import Path

import numpy as np
import pytest

from vgeo.errors import FormatError
from vgeo.formats.tracks import read_tracks

# file: fixes, first (lat, lon), last (lat, lon), first and last second; read off the files by eye
DIALECTS = {
    "air2s": (17, (41.424724, 2.234156), None, (0, 0.533)),
    "broken_incomplete": (19, (-34.7383, -58.4563), (-34.7383, -58.4563), (1, 19)),  # the last cue has no position
    "matrice_300": (381, (36.6146, -6.1120), None, (0, 380)),  # near Jerez in Spain: latitude comes first
    "mavic_2_style": (468, (-20.2533, 149.0251), None, (0, 468)),  # no arrows, "longtitude"
    "mavic_air2": (25, (41.420684, 2.162162), None, (0, 0.4)),
    "mavic_mini": (117, (48.0771, -121.7458), None, (0, 116)),
    "mavic_pro": (468, (-20.2533, 149.0251), None, (1, 468)),
    "mavic_pro_buggy": (530, (42.4668, -1.2218), (42.4668, -1.2217), (1, 546)),  # 16 of 546 cues say N/A
    "old_format": (468, (-20.2533, 149.0251), None, (1, 468)),
    "p4_rtk": (55, (-34.237922, -58.851745), None, (0, 54)),
    "p4p_sample": (5, (47.4692, 8.2090), None, (0, 4)),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(shared_dir: Path, name: str) -> None:
    count, first, last, seconds = DIALECTS[name]
    (track,) = read_tracks(shared_dir / f"data/gps-sidecars/{name}.SRT")
    assert (track.video_id, len(track)) == (name, count)
    np.testing.assert_array_equal(track.latlon_deg[0], first)
    if last:
        np.testing.assert_array_equal(track.latlon_deg[-1], last)
    assert track.time_s is not None
    np.testing.assert_allclose([track.time_s[0], track.time_s[-1]], seconds)
    assert track.start_utc is None  # the dates are local times of an unknown zone
    spread = np.ptp(track.latlon_deg, axis=0)
    assert (spread < 0.1).all(), "a drone does not leave its town"


def test_the_same_flight_in_three_dialects(shared_dir: Path) -> None:
    read = [
        read_tracks(shared_dir / f"data/gps-sidecars/{name}.SRT")[0].latlon_deg
        for name in ("mavic_pro", "old_format", "mavic_2_style")
    ]
    np.testing.assert_array_equal(read[0], read[1])
    np.testing.assert_array_equal(read[0], read[2])


def test_a_dialect_without_positions(shared_dir: Path) -> None:
    with pytest.raises(FormatError, match="none of 2 cues holds a GPS fix"):
        read_tracks(shared_dir / "data/gps-sidecars/mavic_air.SRT")


CUE = "{0}\n00:00:0{0},500 --> 00:00:0{0},900\n{1}\n\n"


def test_cues_without_a_fix_are_dropped(tmp_path: Path) -> None:
    lines = [
        "[latitude: 0.000000] [longitude: 0.000000]",
        "GPS(0,0,0)",
        "GPS(N/A,N/A,0)",
        "[latitude: 1.5] [longitude: -2.5]",
        "no position at all",
        "GPS (-2.6, 1.6, 17), D 1m",
        "HOME (9, 9, 1m) GPS(1.7,-2.7,3.0M)",
    ]
    (tmp_path / "a.srt").write_text("".join(CUE.format(i, line) for i, line in enumerate(lines, start=1)))
    (track,) = read_tracks(tmp_path / "a.srt")
    np.testing.assert_array_equal(track.latlon_deg, [[1.5, -2.5], [1.6, -2.6], [1.7, -2.7]])
    np.testing.assert_array_equal(track.time_s, [4.5, 6.5, 7.5])


def test_other_encodings_and_line_ends(tmp_path: Path) -> None:
    text = (CUE.format(1, "GPS(2,1,0) F.PRY (2.7°)") + CUE.format(2, "GPS(4,3,0)")).replace("\n", "\r\n")
    (tmp_path / "a.SRT").write_bytes(text.encode("latin-1"))
    (track,) = read_tracks(tmp_path / "a.SRT")
    np.testing.assert_array_equal(track.latlon_deg, [[1, 2], [3, 4]])


def test_positions_off_the_earth_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(CUE.format(1, "[latitude: 95.0] [longitude: 2.0]"))
    with pytest.raises(FormatError, match="not on the Earth"):
        read_tracks(tmp_path / "a.srt")


def test_ordinary_subtitles(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(CUE.format(1, "Hello there."))
    with pytest.raises(FormatError, match="none of 1 cues"):
        read_tracks(tmp_path / "a.srt")
