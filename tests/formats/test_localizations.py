"""What `vgeo localize` writes as GeoJSON can be read back whole."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from vgeo.errors import FormatError, InputError
from vgeo.formats.localizations import read_localizations
from vgeo.formats.tracks import write_localizations
from vgeo.records import Localization, Track


def made(name: str, *, clock: bool, frames: int = 4) -> Localization:
    rng = np.random.default_rng(len(name))
    at = np.round(rng.uniform((-60, -180), (60, 180), (frames, 2)), 7)
    return Localization(
        track=Track(
            video_id=name,
            latlon_deg=at,
            time_s=np.arange(frames) + 0.5,
            start_utc=datetime(2024, 6, 1, tzinfo=UTC) if clock else None,
            frame_index=np.arange(frames) * 30,
        ),
        method="geoclip",
        confidence=np.array([0.5, 0.25, 1.0, 0.0])[:frames],
        radius_km=np.array([0.5, 3.0, 0.25, 100.0])[:frames],
        candidates_deg=np.stack([at, np.round(at / 2, 7)], axis=1),
        candidate_scores=np.tile([0.5, 0.125], (frames, 1)),
        places=("Lisbon, Portugal",) * frames,
        source=f"{name}.mp4",
    )


def test_round_trip(tmp_path: Path) -> None:
    wanted = [made("a", clock=True), made("b <&>", clock=False), made("one frame", clock=True, frames=1)]
    write_localizations(tmp_path / "said.geojson", wanted)
    found = read_localizations(tmp_path / "said.geojson")
    assert [said.track.video_id for said in found] == ["a", "b <&>", "one frame"]
    for said, want in zip(found, wanted, strict=True):
        for name in ("confidence", "radius_km", "candidates_deg", "candidate_scores"):
            assert np.allclose(getattr(said, name), getattr(want, name), atol=1e-7), name
        assert np.allclose(said.track.latlon_deg, want.track.latlon_deg, atol=1e-7)
        assert np.array_equal(said.track.time_s, want.track.time_s)
        assert np.array_equal(said.track.frame_index, want.track.frame_index)
        assert said.track.start_utc == want.track.start_utc
        assert (said.method, said.source, said.places) == (want.method, want.source, want.places)


def test_other_geojson_is_refused(tmp_path: Path) -> None:
    for n, text in enumerate(
        (
            '{"type": "FeatureCollection", "features": []}',
            '{"type": "Feature", "geometry": null, "properties": null}',
            '{"features": [{"properties": {"kind": "frame", "video_id": "a"}, "geometry": {}}]}',
            "[1, 2]",
        )
    ):
        path = tmp_path / f"{n}.geojson"
        path.write_text(text)
        with pytest.raises(FormatError, match="vgeo localize"):
            read_localizations(path)
    with pytest.raises(InputError):
        read_localizations(tmp_path / "missing.geojson")
