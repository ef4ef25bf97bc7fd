"""Clips placed by their windows: what the answers are, worked out by hand from logits that are written down.

Features are the logits themselves: heads that pick some of their numbers. Three cities, two of them in one country.
"""

from dataclasses import replace
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, SettingError, UsageError
from vgeo.formats.gallery import Gallery, write_gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods._cityguessr_config import CityGuessrConfig
from vgeo.methods.base import OWN, Clips
from vgeo.methods.cityguessr import CityGuessr
from vgeo.records import Localization
from vgeo.stages.classifier import ClassLocalizer
from vgeo.stages.localizer import ClipQuery
from vgeo.stages.models import Model

CPU = Compute(torch.device("cpu"), torch.float32)
CITIES, COUNTRIES = ("Bonn", "Köln", "Lyon"), ("Germany", "Germany", "France")
AT = np.array([[50.73, 7.10], [50.94, 6.96], [45.76, 4.84]])
SPEC = EncoderSpec(name="gist", dim=5, weights="none", weights_hash="none", preprocessing="none", settings={})
# Probabilities of the windows: of Bonn, Köln, Lyon; of France, Germany.
CITY_WC = [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.02, 0.08, 0.9]]
COUNTRY_WC = [[0.4, 0.6], [0.4, 0.6], [0.9, 0.1]]


def model(tmp_path: Path, rows: int = 1, **changes: Any) -> Model:
    """Heads whose logits are a clip's features: three of cities, two of countries."""
    settings = {"evaluation": "codependent", "multiply": True} | changes
    config = CityGuessrConfig(
        backbone="features", init="scratch", encoder="gist", feature_dim=5, rows=rows, classes=(3, 2), scenes="none",
        text="none", standardize=False, windows="windows", **settings,
    )  # fmt: skip
    method = CityGuessr(config)
    with torch.no_grad():
        for head, chosen in zip(method.heads, (range(3), range(3, 5)), strict=True):
            head.weight.copy_(torch.eye(5)[list(chosen)])
            head.bias.zero_()
    labels = {"city": np.array(CITIES, object), "country": np.array(COUNTRIES, object)}
    write_gallery(tmp_path / "gallery.h5", Gallery(latlon_deg=AT, labels=labels, attributes={"kind": "classes"}))
    return Model(
        name="cityguessr", method=method.eval(), encoders={"gist": SPEC}, hash="0", folder=tmp_path,
        gallery=tmp_path / "gallery.h5",
    )  # fmt: skip


def query(features: Any) -> ClipQuery:
    rows = len(features)
    return ClipQuery(
        video_id="v", source="v.mp4", features={"gist": np.asarray(features, np.float32)},
        time_s=np.arange(rows) / 2, frame_index=np.arange(rows) * 4, start_utc=None,
    )  # fmt: skip


def windows(city_WC: Any = CITY_WC, country_WC: Any = COUNTRY_WC) -> ClipQuery:
    """A clip whose windows have these probabilities. Germany's id is 0, for it is Bonn's."""
    germany_first = np.asarray(country_WC)[:, ::-1]
    return query(np.log(np.concatenate([np.asarray(city_WC), germany_first], axis=1)))


def place(clip: ClipQuery, made: Model, **options: Any) -> Localization:
    return ClassLocalizer(made, CPU, **options)(clip)


def ranking(found: Localization, level: int) -> list[tuple[str, float, float]]:
    """Name, share of windows, and probability."""
    assert found.votes is not None
    name = ("city", "state", "country", "continent")[level]
    return [(getattr(one.labels, name), one.share, one.probability) for one in found.votes.ranking[level]]


def by_hand(city_C: Any, country_C: Any) -> dict[str, float]:
    """Eq. 5: each city's probability times its country's; its root, and all made to sum to one."""
    germany, france = country_C[1], country_C[0]
    products = [sqrt(p * q) for p, q in zip(city_C, (germany, germany, france), strict=True)]
    return {city: product / sum(products) for city, product in zip(CITIES, products, strict=True)}


def test_a_clip_is_where_its_windows_are_in_the_mean(tmp_path: Path) -> None:
    """Means: Bonn .34, Köln .227, Lyon .433; France .567, Germany .433: Lyon, though only one window says so."""
    found = place(windows(), model(tmp_path))
    expected = by_hand([1.02 / 3, 0.68 / 3, 1.3 / 3], [1.7 / 3, 1.3 / 3])
    assert found.places == ("Lyon, France",)
    names, shares, probabilities = zip(*ranking(found, 0), strict=True)
    assert names == ("Lyon", "Bonn", "Köln") and shares == pytest.approx([1 / 3, 2 / 3, 0])
    assert probabilities == pytest.approx([expected[name] for name in names], rel=1e-3)
    assert [one[0] for one in ranking(found, 2)] == ["France", "Germany"]
    assert [one[2] for one in ranking(found, 2)] == pytest.approx([1.7 / 3, 1.3 / 3], rel=1e-3)
    assert found.votes is not None and found.votes.rule == "mean" and not found.votes.ranking[1]
    assert found.votes.labels.country == "France"
    np.testing.assert_allclose(found.track.latlon_deg, AT[[2]])
    assert found.track.time_s.tolist() == [0.5], "of three windows the one in the middle"
    assert found.track.frame_index is not None and found.track.frame_index.tolist() == [4]


def test_a_clip_is_where_most_of_its_windows_are(tmp_path: Path) -> None:
    found = place(windows(), model(tmp_path), by_vote="majority")
    expected = by_hand([1.02 / 3, 0.68 / 3, 1.3 / 3], [1.7 / 3, 1.3 / 3])
    assert found.places == ("Bonn, Germany",) and found.votes is not None and found.votes.rule == "majority"
    names, shares, probabilities = zip(*ranking(found, 0), strict=True)
    assert names == ("Bonn", "Lyon", "Köln") and shares == pytest.approx([2 / 3, 1 / 3, 0])
    assert probabilities == pytest.approx([expected[name] for name in names], rel=1e-3)
    assert ranking(found, 2)[0][:2] == ("Germany", pytest.approx(2 / 3))
    np.testing.assert_allclose(found.candidates_deg[0], AT[[0, 2, 1]])
    np.testing.assert_allclose(found.candidate_scores[0], probabilities, rtol=1e-3)


def test_of_equally_many_windows_the_more_probable_city_wins(tmp_path: Path) -> None:
    two = windows([[0.6, 0.3, 0.1], [0.01, 0.01, 0.98]], [[0.4, 0.6], [0.9, 0.1]])
    assert place(two, model(tmp_path), by_vote="majority").places == ("Lyon, France",)


def test_each_level_for_itself_may_contradict(tmp_path: Path) -> None:
    """Bonn is the best city, France the best country: the place is still Bonn's, and so is what it lies in."""
    one = windows([[0.5, 0.1, 0.4]], [[0.7, 0.3]])
    found = place(one, model(tmp_path, evaluation="independent", multiply=False))
    assert ranking(found, 0)[0] == ("Bonn", 1.0, pytest.approx(0.5, rel=1e-3))
    assert ranking(found, 2)[0] == ("France", 1.0, pytest.approx(0.7, rel=1e-3))
    assert found.places == ("Bonn, Germany",) and found.votes is not None
    assert (found.votes.labels.city, found.votes.labels.country) == ("Bonn", "Germany")
    chain = place(one, model(tmp_path, multiply=False))
    assert ranking(chain, 2)[0] == ("Germany", 1.0, pytest.approx(0.3, rel=1e-3)), "codependent: what Bonn lies in"
    product = place(one, model(tmp_path))
    assert product.places == ("Lyon, France",), "0.4 * 0.7 is more than 0.5 * 0.3"


def test_a_place_for_each_window(tmp_path: Path) -> None:
    found = place(windows(), model(tmp_path), per_window=True)
    assert found.places == ("Bonn, Germany", "Bonn, Germany", "Lyon, France")
    assert found.track.time_s.tolist() == [0, 0.5, 1]
    for number, (city, country) in enumerate(zip(CITY_WC, COUNTRY_WC, strict=True)):
        expected = by_hand(city, country)
        best = max(expected, key=lambda name, of=expected: of[name])  # type: ignore[misc]
        assert found.candidate_scores[number, 0] == pytest.approx(expected[best], rel=1e-3)
        assert found.confidence[number] == pytest.approx(expected[best], rel=1e-3), "no other lies within 1 km"
    assert ranking(found, 0)[0][0] == "Lyon", "the clip's answer is the mean's"
    assert len(place(windows(), model(tmp_path), per_window=True, top_k=1).candidate_scores[0]) == 1


def test_the_radius_holds_half_of_the_probability(tmp_path: Path) -> None:
    near = float(distance_km(AT[0], AT[1]))
    sure = place(windows([[0.9, 0.05, 0.05]], [[0.05, 0.95]]), model(tmp_path))
    assert sure.radius_km.tolist() == [0.0]
    unsure = place(windows([[0.45, 0.35, 0.2]], [[0.5, 0.5]]), model(tmp_path, multiply=False))
    assert unsure.places == ("Bonn, Germany",) and unsure.radius_km[0] == pytest.approx(near)
    assert near < 40


def test_rows_of_frames_are_averaged_window_by_window(tmp_path: Path) -> None:
    """Windows of two: of three frames the second is the last two; logits, not probabilities, are averaged."""
    made = model(tmp_path, rows=2, multiply=False)
    clip = query([[2, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 4, 0, 0, 0]])
    found = place(clip, made, per_window=True)
    assert found.places == ("Bonn, Germany", "Köln, Germany") and found.track.frame_index is not None
    first, second = np.exp([1, 0, 0]), np.exp([0, 2, 0])
    assert found.candidate_scores[0, 0] == pytest.approx(first[0] / first.sum(), rel=1e-3)
    assert found.candidate_scores[1, 0] == pytest.approx(second[1] / second.sum(), rel=1e-3)
    alone = place(query([[log(2), 0, 0, 0, 0]]), made)
    assert alone.candidate_scores[0, 0] == pytest.approx(0.5, rel=1e-3), "a frame that fills a window counts once"
    assert ClassLocalizer(made, CPU).remark(1) == "1 frames, fewer than the 2 of a window"
    assert ClassLocalizer(made, CPU).remark(2) == ""


def test_repeated_rows_of_a_short_clip_count_once(tmp_path: Path) -> None:
    made = model(tmp_path, rows=4, multiply=False)
    found = place(query([[2, 0, 0, 0, 0], [0, 1, 0, 0, 0]]), made)
    mean = np.exp([1, 0.5, 0])
    assert found.candidate_scores[0, 0] == pytest.approx(mean[0] / mean.sum(), rel=1e-3)


def test_most_windows_say_a_city_whose_country_fewer_say(tmp_path: Path) -> None:
    """Three windows of Lyon, two of each German city: four of seven are in Germany."""
    says = {"Lyon": [0.2, 0.2, 0.6], "Bonn": [0.6, 0.2, 0.2], "Köln": [0.2, 0.6, 0.2]}
    cities = [says[name] for name in ("Lyon", "Bonn", "Köln", "Lyon", "Bonn", "Köln", "Lyon")]
    countries = [[0.7, 0.3] if city[2] > 0.5 else [0.3, 0.7] for city in cities]
    for evaluation, country in (("codependent", "France"), ("independent", "Germany")):
        made = model(tmp_path, evaluation=evaluation, multiply=False)
        found = place(windows(cities, countries), made, by_vote="majority")
        assert found.places == ("Lyon, France",) and ranking(found, 2)[0][0] == country
        assert ranking(found, 2)[0][1] == pytest.approx(3 / 7 if country == "France" else 4 / 7)


def test_rows_of_the_models_own_backbone_are_windows_in_order_of_time(tmp_path: Path) -> None:
    made = model(tmp_path)
    made.method.backbone = torch.nn.Identity()  # type: ignore[assignment]
    clip = replace(windows(), features={OWN: windows().features["gist"]})
    found = place(clip, replace(made, encoders={}), per_window=True)
    assert found.places == ("Bonn, Germany", "Bonn, Germany", "Lyon, France")
    assert found.track.time_s.tolist() == [0, 0.5, 1]


def test_the_models_own_backbone_sees_pixels_as_in_training(tmp_path: Path) -> None:
    shape = {"image_px": 32, "width": 16, "layers": 1, "heads": 2, "mlp": 16, "frames": 4}
    for normalize in ("none", "imagenet"):
        config = CityGuessrConfig(
            init="scratch", classes=(3, 2), scenes="none", text="none", normalize=normalize, **shape,  # type: ignore[arg-type]
        )  # fmt: skip
        method = CityGuessr(config).eval()
        own = ClassLocalizer(replace(model(tmp_path), method=method, encoders={}), CPU).own_encoder()
        assert own is not None
        frames = torch.randint(0, 256, (1, 4, 32, 32, 3), dtype=torch.uint8)
        clips = Clips(frames_BTHWC=frames, mask_BT=torch.ones(1, 4).bool())
        rows = Clips(features={OWN: own(own.shrink(frames[0])[None])[:, None]}, mask_BT=torch.ones(1, 1).bool())
        for one, other in zip(method.logits(clips), method.logits(rows), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_features_just_computed_are_answered_as_those_of_a_file(tmp_path: Path) -> None:
    """A file keeps them in half precision, which takes 0.7001 and 0.7 to be equal: the first of equal cities wins."""
    found = place(query([[0.7, 0.7001, 0, 0, 0]]), model(tmp_path, multiply=False))
    assert found.places == ("Bonn, Germany",)


def test_without_names(tmp_path: Path) -> None:
    assert place(windows(), model(tmp_path), places=False).places == ()


def test_what_cannot_be_answered_is_said(tmp_path: Path) -> None:
    made = model(tmp_path)
    with pytest.raises(UsageError, match="--vote centroid: windows decide by mean or majority"):
        ClassLocalizer(made, CPU, by_vote="centroid")
    with pytest.raises(FormatError, match="features of v are not finite"):
        place(query([[np.nan] * 5]), made)
    with pytest.raises(SettingError, match="gist gives 4 numbers"):
        place(query([[0.0] * 4]), made)
    labels = {"city": np.array(CITIES, object), "country": np.array(COUNTRIES, object)}
    for attributes, rows, error, phrase in (
        ({"kind": "cities"}, [0, 1, 2], FormatError, "not the gallery of a model's classes"),
        ({"kind": "classes"}, [2, 1, 0], FormatError, "not in the order of their ids"),
        ({"kind": "classes"}, [0, 2], FormatError, "the heads"),
    ):
        gallery = Gallery(latlon_deg=AT, labels=labels, attributes=attributes).take(np.array(rows))
        write_gallery(tmp_path / "gallery.h5", gallery)
        with pytest.raises(error, match=phrase):
            ClassLocalizer(made, CPU)
    nowhere = Gallery(latlon_deg=np.full((3, 2), np.nan), labels=labels, attributes={"kind": "classes"})
    write_gallery(tmp_path / "gallery.h5", nowhere)
    with pytest.raises(InputError, match="go by their ids"):
        ClassLocalizer(made, CPU)
