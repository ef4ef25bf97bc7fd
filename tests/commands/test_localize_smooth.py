"""`vgeo localize --smooth viterbi` as typed."""

import numpy as np
import pytest

import vgeo
from vgeo.cli import run
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.features import FeatureWriter
from vgeo.geo.sphere import distance_km

GIST = EncoderSpec(name="gist", dim=8, weights="none", weights_hash="none", preprocessing="p", settings={})


@pytest.fixture(autouse=True)
def drive(tmp_path, monkeypatch):
    """Reference frames of a street and of another town, and a clip of the street whose 5th frame looks like there."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(20, 8))
    street = np.stack([40 + np.arange(20) * 1e-4, np.full(20, -74.0)], 1)
    town = looks + 0.3 * rng.normal(size=looks.shape)
    with FeatureWriter(tmp_path / "street.h5", {"gist": GIST}, "rate_hz=1", "pyav") as writer:
        writer.add("a", {"gist": looks}, np.arange(20.0), street)
        writer.add("b", {"gist": town}, np.arange(20.0), street + 3)
        writer.finish()
    assert run(["build-gallery", "points", "street.h5", "--keep-features"]) == 0
    seen = looks[5:15].copy()
    seen[4] = 0.4 * looks[9] + 0.6 * town[9]
    with FeatureWriter(tmp_path / "clip.h5", {"gist": GIST}, "rate_hz=1", "pyav") as writer:
        writer.add("v", {"gist": seen}, np.arange(10.0), np.full((10, 2), np.nan))
        writer.finish()
    return street[5:15]


def off(path, truth):
    track = vgeo.read_tracks(path)[0]
    return distance_km(track.latlon_deg, truth)


def test_a_limit_of_speed_brings_the_track_together(drive, capfd):
    assert run(["localize", "clip.h5", "-m", "nearest", "--out", "plain.csv"]) == 0
    assert run(["localize", "clip.h5", "-m", "nearest", "--smooth", "viterbi", "--out", "smooth.csv", "-v"]) == 0
    assert "frames moved, 0 breaks" in capfd.readouterr().err
    assert (off("smooth.csv", drive) < 0.1).all()
    assert (off("plain.csv", drive) > 100).tolist() == [False] * 4 + [True] + [False] * 5


@pytest.mark.parametrize(
    "args, said",
    [
        (["--smooth", "kalman"], "not one of viterbi"),
        (["--smooth", "viterbi", "--max-speed-kmh", "0"], "must be above 0"),
        (["--max-speed-kmh", "50"], "goes with --smooth"),
    ],
)
def test_wrong_words(args, said, capfd):
    capfd.readouterr()
    assert run(["localize", "clip.h5", "-m", "nearest", *args]) == 2
    assert said in capfd.readouterr().err


def test_a_folder_of_results_made_without_is_refused(capfd):
    assert run(["localize", "clip.h5", "-m", "nearest", "--out", "out/"]) == 0
    capfd.readouterr()
    assert run(["localize", "clip.h5", "-m", "nearest", "--out", "out/", "--smooth", "viterbi"]) == 78
    assert "smoothing" in capfd.readouterr().err
