"""Features to answers: distinct candidates, comparable encoders, hostile values."""

import dataclasses

import numpy as np
import pytest
import torch

from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, SettingError
from vgeo.formats.gallery import Gallery
from vgeo.methods.nearest import Nearest, NearestConfig
from vgeo.stages.localize_inputs import check_features
from vgeo.stages.localizer import ClipQuery, Localizer
from vgeo.stages.models import Model

COMPUTE = Compute(torch.device("cpu"), torch.float32)
SPEC = EncoderSpec(name="gist", dim=3, weights="none", weights_hash="none", preprocessing="plain", settings={})
MODEL = Model(name="nearest", method=Nearest(NearestConfig()), encoders={}, hash="h", folder=None, gallery=None)


def gallery(features: list[list[float]], latlon: list[tuple[float, float]]) -> Gallery:
    return Gallery(
        latlon_deg=np.array(latlon), features={"gist": np.array(features, np.float16)}, encoders={"gist": SPEC}
    )


def query(features: list[list[float]]) -> ClipQuery:
    return ClipQuery(
        video_id="v", source="v.mp4", features={"gist": np.array(features)}, time_s=np.arange(len(features))
    )


def test_a_place_that_fills_many_rows_is_one_candidate() -> None:
    standing = [[1, 0, i / 1000] for i in range(300)]
    places = gallery([*standing, [1, 0.5, 0], [0, 1, 0]], [(10.0, 20.0)] * 300 + [(11.0, 20.0), (12.0, 20.0)])
    found = Localizer(MODEL, places, COMPUTE, top_k=3, places=False)(query([[1, 0, 0], [0, 1, 0]]))
    assert found.candidates_deg.tolist() == [[[10, 20], [11, 20], [12, 20]], [[12, 20], [11, 20], [10, 20]]]
    assert found.track.latlon_deg.tolist() == [[10, 20], [12, 20]]
    assert (np.diff(found.candidate_scores) <= 0).all()
    assert found.confidence[0] > 0.99  # all rows of the place count for its confidence
    assert found.candidate_scores[0, 0] < 0.01  # one row's share
    assert found.places == ()
    few = Localizer(MODEL, places, COMPUTE, top_k=9, places=False)(query([[1, 0, 0]]))
    assert few.candidates_deg.shape == (1, 3, 2)


def test_the_confidence_is_what_falls_within_one_kilometre() -> None:
    """Three places look the same: one is the answer, one lies 900 m from it, one 1,100 m; a fourth looks otherwise."""
    north = [10 + km / 111.195 for km in (0, 0.9, 1.1, 100)]
    places = gallery([[1, 0, 0]] * 3 + [[0, 1, 0]], [(lat, 20.0) for lat in north])
    found = Localizer(MODEL, places, COMPUTE, places=False)(query([[1, 0, 0]]))
    assert found.track.latlon_deg.tolist() == [[10, 20]]
    assert found.confidence.tolist() == pytest.approx([2 / 3], rel=1e-5)
    assert found.candidate_scores.tolist() == [pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=1e-5)]
    assert 0.9 <= found.radius_km[0] <= 0.9 * 1.032


def test_five_candidates_unless_told_otherwise() -> None:
    places = gallery(np.eye(3)[[0, 1, 2] * 3].tolist(), [(float(i), 0.0) for i in range(9)])
    assert Localizer(MODEL, places, COMPUTE, places=False)(query([[1, 0, 0]])).candidates_deg.shape == (1, 5, 2)


def test_the_answer_does_not_depend_on_a_feature_file_between() -> None:
    rng = np.random.default_rng(0)
    places = gallery(rng.normal(size=(50, 3)).tolist(), [(float(i), 0.0) for i in range(50)])
    exact = query(rng.normal(size=(20, 3)).tolist())
    stored = dataclasses.replace(exact, features={"gist": exact.features["gist"].astype(np.float16)})
    localizer = Localizer(MODEL, places, COMPUTE, places=False)
    assert np.array_equal(localizer(exact).candidate_scores, localizer(stored).candidate_scores)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_features_that_are_not_finite(value: float) -> None:
    places = gallery([[1, 0, 0]], [(1.0, 2.0)])
    with pytest.raises(FormatError, match=r": features of gist of \w+ are not finite"):
        Localizer(MODEL, places, COMPUTE)(query([[1, value, 0]]))


def test_features_of_another_width() -> None:
    with pytest.raises(FormatError, match="keys are 3 wide, the model's 2"):
        Localizer(MODEL, gallery([[1, 0, 0]], [(1.0, 2.0)]), COMPUTE)(query([[1, 0]]))


def test_galleries_that_do_not_serve() -> None:
    with pytest.raises(InputError, match="--keep-features"):
        Localizer(MODEL, Gallery(latlon_deg=np.zeros((3, 2))), COMPUTE)
    with pytest.raises(InputError, match="no places"):
        Localizer(MODEL, Gallery(latlon_deg=np.zeros((0, 2))), COMPUTE)


def test_encoders_are_compared_by_what_makes_features_comparable() -> None:
    check_features(SPEC, dataclasses.replace(SPEC, weights="elsewhere"), "f.h5")
    with pytest.raises(SettingError, match="preprocessing 'squashed', not 'plain'"):
        check_features(SPEC, dataclasses.replace(SPEC, preprocessing="squashed"), "f.h5")
    released = dataclasses.replace(SPEC, name="clip", dim=768, weights_hash="", preprocessing="")
    check_features(released, dataclasses.replace(released, name="clip:some/clip", weights_hash="x"), "f.h5")
    with pytest.raises(SettingError, match="512 wide"):
        check_features(released, dataclasses.replace(released, dim=512, weights_hash="x"), "f.h5")


def test_a_gallery_of_cities_is_voted_on() -> None:
    """All of the gallery is looked at, though one candidate a frame is told."""
    names = {"city": np.array(["Lund", "Ystad", "Lund"], object), "country": np.array(["Sweden"] * 3, object)}
    places = dataclasses.replace(gallery(np.eye(3).tolist(), [(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)]), labels=names)
    clip = query([[1, 0.2, 0.1], [0, 1, 0.2], [0.1, 0.2, 1]])
    found = Localizer(MODEL, places, COMPUTE, top_k=1, places=False)(clip)
    assert found.candidates_deg.shape == (3, 1, 2) and found.votes is not None
    assert [(v.labels.city, round(v.share * 3)) for v in found.votes.ranking[0]] == [("Lund", 2), ("Ystad", 1)]
    assert sum(v.probability for v in found.votes.ranking[0]) == pytest.approx(1)
    assert found.votes.ranking[2][0].share == 1 and found.votes.ranking[1] == ()
    central = Localizer(MODEL, places, COMPUTE, places=False, by_vote="centroid")(clip).votes
    assert central is not None and (central.rule, central.labels.city) == ("centroid", "Ystad")
    assert Localizer(MODEL, gallery([[1, 0, 0]], [(1.0, 2.0)]), COMPUTE)(query([[1, 0, 0]])).votes is None
