"""Joining predictions to their truth, and the report over them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgeo
from vgeo.errors import InputError, UsageError
from vgeo.geo.sphere import KM_PER_DEG
from vgeo.records import Track
from vgeo.reports.tables import summary_fields, trajectory_fields
from vgeo.stages.alignment import align, join_clips
from vgeo.stages.score_trajectory import score

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


def track(name: str, lon: Any, time_s: Any = None, start: datetime | None = None, frames: Any = None) -> Track:
    """A track along the equator."""
    lons = np.atleast_1d(np.array(lon, np.float64))
    return Track(
        video_id=name,
        latlon_deg=np.stack([np.zeros_like(lons), lons], axis=1),
        time_s=None if time_s is None else np.array(time_s, np.float64),
        start_utc=start,
        frame_index=None if frames is None else np.array(frames),
    )


def test_golden_summary(shared_dir: Path) -> None:
    golden = json.loads((shared_dir / "golden/trajectory_metrics.json").read_text())
    tracks = {
        key: [
            Track(
                video_id=c["name"],
                latlon_deg=np.array(c[f"{key}_latlon_deg"]),
                time_s=np.arange(len(c[f"{key}_latlon_deg"])) * 1.0,
            )
            for c in golden["cases"]
        ]
        for key in ("prediction", "truth")
    }
    report = score(tracks["prediction"], tracks["truth"][::-1])
    expected = golden["summary"]
    for unit, summary in (("frame", report.frames), ("video", report.videos)):
        fields = summary_fields(report, summary)
        assert {key: fields[key] for key in expected[unit]} == pytest.approx(expected[unit], rel=1e-6)
    fields = trajectory_fields(report)
    names = [key for key in expected if key not in ("frame", "video")]
    assert len(names) == 6
    assert {key: fields[key] for key in names} == pytest.approx({key: expected[key] for key in names}, rel=1e-6)
    assert (len(report.clips), report.unmatched_clips, report.unmatched_truth) == (8, (), ())


def test_clips_join_by_id_then_by_stem() -> None:
    predictions = [track(name, 0) for name in ("a", "clips/b.mp4", "seq.1", "seq.2", "c")]
    truth = [track(name, 0) for name in ("a", "a.gpx", "b", "seq.1", "seq.3", "d")]
    pairs = [(p.video_id, t.video_id) for p, t in join_clips(predictions, truth)]
    assert pairs == [("a", "a"), ("seq.1", "seq.1"), ("clips/b.mp4", "b"), ("seq.2", "seq.3")]


def test_stems_that_are_not_unique_join_nothing() -> None:
    predictions = [track(name, 0) for name in ("x/a.mp4", "y/a.mp4")]
    assert join_clips(predictions, [track("a", 0), track("b", 0)]) == []


def test_a_lone_prediction_and_a_lone_truth_belong_together() -> None:
    (pair,) = join_clips([track("clip", 0)], [track("Morning ride", 0)])
    assert pair[1].video_id == "Morning ride"


def test_clocks_win_over_seconds() -> None:
    prediction = track("a", [5, 6], [0, 1], NOON)
    truth = track("a", [3, 4, 5, 6, 7], [0, 1, 2, 3, 4], NOON - timedelta(seconds=2))
    found = align(prediction, truth)
    assert found.matched_by == "clock"
    np.testing.assert_array_equal(found.truth_deg[:, 1], [5, 6])
    by_time = align(prediction, truth, "time")
    np.testing.assert_array_equal(by_time.truth_deg[:, 1], [3, 4])


def test_truth_is_interpolated_to_the_frames() -> None:
    """Truth once a second, predictions twice a second."""
    times = np.arange(0, 4.1, 0.5)
    found = align(track("a", times + 1, times), track("a", np.arange(5) * 1.0, np.arange(5)))
    np.testing.assert_allclose(found.truth_deg[:, 1], times, atol=1e-12)
    np.testing.assert_array_equal(found.truth_deg[::2, 1], np.arange(5))  # at a fix, the fix itself
    assert (found.matched_by, found.unmatched_frames, found.unmatched_truth) == ("time", 0, 0)


def test_no_truth_beyond_the_gap() -> None:
    prediction = track("a", [0, 1, 2, 3], [0, 2, 10, 100])
    truth = track("a", [0, 9], [0, 1])
    found = align(prediction, truth)
    np.testing.assert_array_equal(found.truth_deg[:, 1], [0, 9])
    assert (found.unmatched_frames, found.unmatched_truth) == (2, 0)
    assert len(align(prediction, truth, max_gap_s=9).truth_deg) == 3


def test_a_sparse_truth_serves_the_frames_between_its_fixes() -> None:
    times = np.arange(0, 41, 5.0)
    found = align(track("a", times, times), track("a", [0, 20, 40], [0, 20, 40]))
    np.testing.assert_allclose(found.truth_deg[:, 1], times)


def test_a_tunnel_is_no_sparse_truth() -> None:
    """One long hole does not make the interval between fixes long: frames inside it have no truth."""
    times = np.concatenate([np.arange(11), 1000 + np.arange(11)]).astype(float)
    found = align(track("a", [0, 0, 0], [5, 20, 500]), track("a", times / 100, times))
    assert found.unmatched_frames == 2
    np.testing.assert_allclose(found.truth_deg[:, 1], [0.05])


def test_a_dense_truth_is_not_unmatched_by_sparse_frames() -> None:
    truth = track("a", np.arange(0, 60, 0.05), np.arange(0, 60, 0.05))
    assert align(track("a", [0, 10, 20, 30], [0, 10, 20, 30]), truth).unmatched_truth == 499  # from 35 s on


def test_frame_numbers_where_there_are_no_times() -> None:
    found = align(track("a", [0, 30, 60], frames=[0, 30, 60]), track("a", [61, 29, 5], frames=[60, 30, 7]))
    assert found.matched_by == "frame"
    assert sorted(found.truth_deg[:, 1]) == [29, 61] and sorted(found.prediction_deg[:, 1]) == [30, 60]
    assert (found.unmatched_frames, found.unmatched_truth) == (1, 1)


def test_order_where_there_is_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    found = align(track("a", [1, 2, 3], [0, 1, 2]), track("a", [1, 2]))
    assert (found.matched_by, found.unmatched_frames, found.unmatched_truth) == ("order", 1, 0)
    assert "3 predicted and 2 true positions" in caplog.text


def test_what_is_not_known_cannot_be_asked_for() -> None:
    with pytest.raises(UsageError, match="cannot be matched by clock, only by order"):
        align(track("a", [1]), track("a", [1]), "clock")


def test_report_over_two_clips() -> None:
    predictions = [track("a", [0, 1], [0, 1]), track("b", [0, 0, 0], [0, 1, 50]), track("extra", [0], [0])]
    truth = [track("a", [0, 2], [0, 1]), track("b", [0, 3], [0, 1]), track("more", [0], [0])]
    report = score(predictions, truth, (1, 200))
    errors = np.array([0, 1, 0, 3]) * KM_PER_DEG
    assert report.frames.count == 4 and report.videos.count == 2
    assert report.frames.within_percent == (50.0, 75.0)
    assert report.frames.median_km == pytest.approx(np.median(errors))
    assert report.frames.mean_km == pytest.approx(errors.mean())
    assert report.frames.p95_km == pytest.approx(np.percentile(errors, 95))
    assert [clip.dfd_deg for clip in report.clips] == pytest.approx([1, 3])
    assert [clip.mrd_deg for clip in report.clips] == pytest.approx([0.5, 1.5])
    assert report.clips[1].unmatched_frames == 1
    assert report.unmatched_clips == ("extra",) and report.unmatched_truth == ("more",)


def test_nothing_in_common() -> None:
    with pytest.raises(InputError, match="no clip is in both: predictions of a, b; truth of c"):
        score([track("a", 0), track("b", 0)], [track("c", 0)])
    with pytest.raises(InputError, match=r"clock begins \+7200 s after the clip's; --match time"):
        score([track("a", [0, 1], [0, 1], NOON)], [track("a", [0, 1], [0, 1], NOON + timedelta(hours=2))])


def test_a_clip_of_another_time_is_counted_not_scored(caplog: pytest.LogCaptureFixture) -> None:
    predictions = [track("a", [0], [0]), track("b", [0], [0])]
    report = score(predictions, [track("a", [0], [0]), track("b", [0], [900])])
    assert report.unmatched_clips == ("b",) and report.unmatched_truth == ("b",)
    assert "clip b: no predicted frame has a true position near it in time" in caplog.text


@pytest.mark.parametrize("limits", [(), (0.0,), (-1.0,), (float("nan"),), (float("inf"),)])
def test_thresholds_are_distances(limits: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="thresholds"):
        score([track("a", 0)], [track("a", 0)], limits)


def test_the_python_api_is_the_stage() -> None:
    assert vgeo.score is score
