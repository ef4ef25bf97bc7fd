"""Laying tracks over clips."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from vgeo.errors import FormatError
from vgeo.formats.tracks import is_prediction, write_localizations
from vgeo.records import Localization, Track
from vgeo.video.positions import Moment, TrackSource, align, find_fixes, sidecars
from vgeo.video.telemetry import Fixes

START = datetime(2024, 6, 1, 12, 0, tzinfo=UTC)
PLACES = np.array([[48.0, 2.0], [48.001, 2.0], [48.002, 2.0]])
GPX_POINT = '<trkpt lat="{:.5f}" lon="2.0"><time>2024-06-01T12:00:{:02d}Z</time></trkpt>'


def clip(start_utc: datetime | None = None, path: Path = Path("walk.mp4")) -> Moment:
    return Moment(video_id="walk", path=path, duration_s=10, start_utc=start_utc)


def track(start_utc: datetime | None, time_s: tuple[float, ...] = (0, 1, 2), video_id: str = "walk") -> Track:
    return Track(video_id=video_id, latlon_deg=PLACES, time_s=np.array(time_s, float), start_utc=start_utc)


def write_gpx(path: Path, seconds: tuple[int, ...] = (0, 5, 10)) -> Path:
    points = "".join(GPX_POINT.format(48 + second / 1000, second) for second in seconds)
    path.write_text(
        f'<gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{points}</trkseg></trk></gpx>'
    )
    return path


def nothing() -> tuple[None, str]:
    return None, ""


def test_clocks_that_overlap_decide() -> None:
    fixes, remark = align(track(START), clip(START - timedelta(seconds=4)), 0, "t.gpx")
    assert fixes.time_s.tolist() == [4, 5, 6] and "absolute time" in remark
    assert fixes.start_utc == START - timedelta(seconds=4)


@pytest.mark.parametrize("clip_start", [None, START - timedelta(hours=2)])
def test_else_the_first_point_is_the_clips_start(clip_start: datetime | None) -> None:
    fixes, remark = align(track(START, (3, 4, 5)), clip(clip_start), 0, "t.gpx")
    assert fixes.time_s.tolist() == [0, 1, 2] and "first point" in remark
    assert ("do not overlap" in remark) == (clip_start is not None)
    assert fixes.start_utc == START + timedelta(seconds=3)


def test_times_without_a_clock_count_from_the_clips_start() -> None:
    fixes, _ = align(track(None, (3, 4, 5)), clip(START), 0, "t.srt")
    assert fixes.time_s.tolist() == [3, 4, 5] and fixes.start_utc is None


def test_the_offset_is_added_to_the_clips_time() -> None:
    for start in (None, START):
        fixes, _ = align(track(START), clip(start), 1.5, "t.gpx")
        assert fixes.time_s.tolist() == [-1.5, -0.5, 0.5]
    assert align(track(START), clip(), 1.5, "t")[0].start_utc == START + timedelta(seconds=1.5)


def test_the_offset_moves_what_the_recording_carries_the_same_way() -> None:
    carried = Fixes(time_s=np.array([0.0, 1.0, 2.0]), latlon_deg=PLACES, max_gap_s=0.1)
    fixes, _ = find_fixes(clip(), TrackSource(time_offset_s=1.5), lambda: (carried, ""))
    assert fixes is not None and fixes.time_s.tolist() == [-1.5, -0.5, 0.5]
    assert fixes.max_gap_s == np.inf, "a picture's own position is another picture's now"


def test_a_track_without_times_is_refused() -> None:
    with pytest.raises(FormatError, match="no times"):
        align(Track(video_id="walk", latlon_deg=PLACES), clip(), 0, "t.geojson")


def test_order_of_sources(tmp_path: Path) -> None:
    video = tmp_path / "walk.mp4"
    video.touch()
    carried = Fixes(time_s=np.zeros(1), latlon_deg=PLACES[:1])
    moment = clip(path=video)
    assert find_fixes(moment, TrackSource(), lambda: (carried, "x")) == (carried, ["x"])
    (tmp_path / "walk.CSV").write_text("not,a,track\n1,2,3\n")
    fixes, remarks = find_fixes(moment, TrackSource(), lambda: (carried, ""))
    assert fixes is carried and "sidecar not used" in remarks[0], "a sidecar that is no track is passed over"
    write_gpx(tmp_path / "walk.gpx")
    fixes, remarks = find_fixes(moment, TrackSource(), lambda: (carried, ""))
    assert fixes is not None and fixes is not carried and len(fixes.time_s) == 3
    given = write_gpx(tmp_path / "given.gpx", (0, 1))
    fixes, _ = find_fixes(moment, TrackSource(file=given), lambda: (carried, ""))
    assert fixes is not None and len(fixes.time_s) == 2


def test_answers_are_no_sidecars(tmp_path: Path) -> None:
    said = Localization(
        track=track(START),
        method="geoclip",
        confidence=np.ones(3),
        radius_km=np.ones(3),
        candidates_deg=PLACES[:, None],
        candidate_scores=np.ones((3, 1)),
    )
    video = tmp_path / "walk.mp4"
    for suffix in ("geojson", "gpx", "kml", "csv"):
        answer = tmp_path / f"walk.{suffix}"
        write_localizations(answer, [said])
        fixes, remarks = find_fixes(clip(path=video), TrackSource(), nothing)
        assert fixes is None and "not where it was" in remarks[0], suffix
        assert find_fixes(clip(path=video), TrackSource(file=answer), nothing)[0] is not None, "when it is asked for"
        answer.unlink()
    write_localizations(tmp_path / "walk.geojsonl", [said])
    assert is_prediction(tmp_path / "walk.geojsonl") and not is_prediction(write_gpx(tmp_path / "walk.gpx"))


def test_the_recordings_own_clock_is_believed(tmp_path: Path) -> None:
    carried = Fixes(time_s=np.zeros(1), latlon_deg=PLACES[:1], start_utc=START + timedelta(seconds=4))
    source = TrackSource(file=write_gpx(tmp_path / "given.gpx"))
    fixes, remarks = find_fixes(clip(START - timedelta(hours=7)), source, lambda: (carried, ""))
    assert fixes is not None and fixes.time_s.tolist() == [-4, 1, 6] and "absolute time" in remarks[0]


def test_a_given_file_must_serve(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gpx"
    bad.write_text("<html>")
    with pytest.raises(FormatError):
        find_fixes(clip(), TrackSource(file=bad), nothing)


def test_sidecars_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    for name in ("walk.mp4", "walk.gpx", "WALK.SRT", "walker.gpx", "walk.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in sidecars(tmp_path / "walk.mp4")] == ["walk.gpx", "WALK.SRT"]
    assert [path.name for path in sidecars(tmp_path / "walk")] == ["walk.gpx", "WALK.SRT"]


def test_dji_subtitles_count_from_the_clips_start(shared_dir: Path) -> None:
    source = TrackSource(file=shared_dir / "data" / "gps-sidecars" / "mavic_mini.SRT")
    fixes, remarks = find_fixes(
        Moment(video_id="any", path=Path("any.mp4"), duration_s=10, start_utc=None), source, nothing
    )
    assert fixes is not None and len(fixes.time_s) > 100 and len(remarks) == 1
    assert 0 <= fixes.time_s[0] < 1
