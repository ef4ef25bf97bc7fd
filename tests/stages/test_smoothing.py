"""Answers decoded as a whole: a wrong frame is repaired, and what is said of it stays true."""

import numpy as np
import pytest
import torch

from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import UsageError
from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods.nearest import Nearest, NearestConfig
from vgeo.records import Localization, Track
from vgeo.stages.localizer import ClipQuery, Localizer
from vgeo.stages.models import Model
from vgeo.stages.smoothing import SLACK_KM, Smoothing, first_candidates, slack_of, smoothed

COMPUTE = Compute(torch.device("cpu"), torch.float32)
MODEL = Model(name="nearest", method=Nearest(NearestConfig()), encoders={}, hash="h", folder=None, gallery=None)
SPEC = EncoderSpec(name="gist", dim=8, weights="none", weights_hash="none", preprocessing="plain", settings={})


def street(n=40, step_km=0.02):
    """Places along a street, and as many in another town, of which each looks much like its twin in the street."""
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(n, 8))
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    here = np.stack([40 + np.arange(n) * step_km / 111.195, np.full(n, -74.0)], 1)
    there = here + rng.permutation(n)[:, None] * 0.01 + 2.0
    both = np.concatenate([looks, looks + 0.1 * rng.normal(size=looks.shape)]).astype(np.float16)
    return Gallery(latlon_deg=np.concatenate([here, there]), features={"gist": both}, encoders={"gist": SPEC}), here


def drive(gallery, wrong):
    """A clip along the street; frames `wrong` look exactly like the other town."""
    rows = np.arange(10, 30)
    looks = gallery.features["gist"][rows].astype(np.float64)
    for t in wrong:
        looks[t] = gallery.features["gist"][rows[t] + 40]
    return ClipQuery(video_id="v", source="v.mp4", features={"gist": looks}, time_s=np.arange(len(rows)) * 1.0), rows


def test_wrong_far_frames_in_the_middle_are_repaired():
    gallery, here = street()
    clip, rows = drive(gallery, wrong=[3, 9, 10])
    plain = Localizer(MODEL, gallery, COMPUTE, top_k=3)(clip)
    found = Localizer(MODEL, gallery, COMPUTE, top_k=3, smoothing=Smoothing())(clip)
    off = distance_km(plain.track.latlon_deg, here[rows])
    assert (off > 200).sum() == 3
    np.testing.assert_allclose(found.track.latlon_deg, here[rows], atol=1e-9)
    assert found.candidates_deg.shape == (20, 3, 2)
    np.testing.assert_array_equal(found.candidates_deg, plain.candidates_deg)
    right = off == 0
    np.testing.assert_array_equal(found.confidence[right], plain.confidence[right])
    np.testing.assert_array_equal(found.radius_km[right], plain.radius_km[right])
    assert len(found.places) == 20 and found.places[3] == found.places[2] != plain.places[3]


def test_what_is_said_of_moved_frames_is_a_bound_of_what_is_true():
    """With all places as candidates, both can be computed: they are met."""
    gallery, _ = street()
    clip, _ = drive(gallery, wrong=[3, 9, 10])
    for top_k in (80, 12):
        plain = Localizer(MODEL, gallery, COMPUTE, top_k=top_k, places=False)(clip)
        full = Localizer(MODEL, gallery, COMPUTE, top_k=80, places=False)(clip)
        found = smoothed(plain, slack_km=0.05)
        moved = (found.track.latlon_deg != plain.track.latlon_deg).any(axis=1)
        assert moved.sum() == 3
        for t in np.flatnonzero(moved):
            far = distance_km(full.candidates_deg[t], found.track.latlon_deg[t])
            near = full.candidate_scores[t][far <= 1].sum()
            order = np.argsort(far)
            half = far[order][np.searchsorted(full.candidate_scores[t][order].cumsum(), 0.5 - 1e-9)]
            assert found.confidence[t] <= near + 1e-9
            assert found.radius_km[t] >= half - 1e-9
            if top_k == 80:
                assert found.confidence[t] == pytest.approx(near, abs=1e-9)
                assert found.radius_km[t] == pytest.approx(half, abs=1e-6)


def said(latlon_TK2, scores_TK, time_s=None):
    latlon = np.array(latlon_TK2, float)
    return Localization(
        track=Track(video_id="v", latlon_deg=latlon[:, 0], time_s=time_s),
        method="m",
        confidence=np.full(len(latlon), 0.25),
        radius_km=np.full(len(latlon), 7.0),
        candidates_deg=latlon,
        candidate_scores=np.array(scores_TK, float),
        places=("here",) * len(latlon),
    )


def test_a_clip_that_needs_nothing_is_left_alone():
    clip = said([[[1, 1], [9, 9]]] * 3, [[0.6, 0.1]] * 3)
    assert smoothed(clip) is clip
    none = said(np.zeros((0, 2, 2)), np.zeros((0, 2)))
    assert smoothed(none) is none


def test_the_radius_reaches_as_far_as_the_way_and_the_old_one():
    clip = said([[[1, 1], [9, 9]], [[5, 5], [1, 1.0005]], [[1, 1], [9, 9]]], [[0.3, 0.1]] * 3)
    found = smoothed(clip)
    assert found.track.latlon_deg.tolist() == [[1, 1], [1, 1.0005], [1, 1]]
    assert found.radius_km[1] == pytest.approx(7 + distance_km([5, 5], [1, 1.0005]))
    assert found.confidence[1] == pytest.approx(0.1)
    assert found.places == ()


def test_a_probability_that_rounds_to_0_is_no_end():
    clip = said([[[1, 1], [9, 9]], [[9, 9], [1, 1]], [[1, 1], [9, 9]]], [[1.0, 0.0]] * 3)
    assert smoothed(clip).track.latlon_deg.tolist() == [[1, 1], [9, 9], [1, 1]]  # 690 nats are more than two breaks


def test_fewer_candidates():
    clip = first_candidates(said([[[1, 1], [9, 9]]], [[0.6, 0.1]]), 1)
    assert clip.candidates_deg.shape == (1, 1, 2) and clip.candidate_scores.shape == (1, 1)


def test_the_slack_is_the_spacing_of_the_places():
    grid = np.array([[40 + i * 0.01, -74 + j * 0.01] for i in range(9) for j in range(9)])
    assert slack_of(Gallery(latlon_deg=grid), None) == pytest.approx(1.112, rel=0.01)
    assert slack_of(Gallery(latlon_deg=np.repeat(grid, 9, axis=0)), None) == pytest.approx(1.112, rel=0.01)
    assert slack_of(Gallery(latlon_deg=grid), 0.2) == 0.2
    assert slack_of(Gallery(latlon_deg=grid[:2]), None) == SLACK_KM


@pytest.mark.parametrize("wrong", [{"smoother": "kalman"}, {"max_speed_kmh": 0}, {"max_speed_kmh": float("nan")}])
def test_refused(wrong):
    with pytest.raises(UsageError):
        Smoothing(**wrong)
