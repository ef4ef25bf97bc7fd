"""The text of a gallery's cities: every name once, the mean of levels, and nothing taken for features of frames."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from textmaker import make_clip

from vgeo import device
from vgeo.cli import run
from vgeo.encoders._text import TextEncoder, load_text
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.gallery import Gallery, join, read_gallery, write_gallery
from vgeo.stages.build_gallery import build_gallery
from vgeo.stages.city_text import text_targets, with_text
from vgeo.stages.gallery_inputs import read_places
from vgeo.stages.localizer import Localizer
from vgeo.stages.models import load_model

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)
SPEC = EncoderSpec(name="toy", dim=2, weights="w", weights_hash="abc", preprocessing="none", settings={})
VECTORS = {"Ghent": (3.0, 4.0), "Flanders": (0.0, -2.0), "Belgium": (5.0, 0.0), "Singapore": (-1.0, 0.0),
           "Bruges": (0.6, 0.8), "Asia": (0.0, 0.5)}  # fmt: skip
TABLE = "city,state,country,lat,lon\nGhent,Flanders,Belgium,51.05,3.72\nSingapore,,Singapore,1.29,103.85\n"


class Toy:
    """An encoder of six names that counts how often it is asked."""

    spec = SPEC

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        self.asked += texts
        return torch.tensor([VECTORS[text] for text in texts])


def encoder() -> Any:
    return cast(TextEncoder, Toy())


def cities() -> Gallery:
    rows = [("Ghent", "Flanders", "Belgium", ""), ("Bruges", "Flanders", "Belgium", ""),
            ("Singapore", "", "Singapore", "")]  # fmt: skip
    columns = zip(("city", "state", "country", "continent"), zip(*rows, strict=True), strict=True)
    return Gallery(
        latlon_deg=np.array([(51.05, 3.72), (51.21, 3.22), (1.29, 103.85)]),
        labels={level: np.array(names, object) for level, names in columns},
    )


def test_every_name_once_normalised_and_only_levels_that_are_named() -> None:
    toy = encoder()
    gallery = with_text(cities(), toy)
    assert sorted(toy.asked) == ["Belgium", "Bruges", "Flanders", "Ghent", "Singapore"]
    assert list(gallery.text) == ["city", "state", "country"] and gallery.text_encoder == SPEC
    np.testing.assert_allclose(gallery.text["city"], [(0.6, 0.8), (0.6, 0.8), (-1, 0)], rtol=1e-6)
    np.testing.assert_allclose(gallery.text["state"], [(0, -1), (0, -1), (0, 0)])
    np.testing.assert_allclose(gallery.text["country"], [(1, 0), (1, 0), (-1, 0)])
    assert all(values.dtype == np.float32 for values in gallery.text.values())


def test_targets_are_the_city_or_the_mean_of_the_levels_that_name_it() -> None:
    gallery = with_text(cities(), encoder())
    np.testing.assert_allclose(text_targets(gallery, "city"), [(0.6, 0.8), (0.6, 0.8), (-1, 0)], rtol=1e-6)
    third = ((0.6 + 0 + 1) / 3, (0.8 - 1 + 0) / 3)  # by hand: (city + state + country) / 3
    np.testing.assert_allclose(text_targets(gallery, "all"), [third, third, (-1, 0)], rtol=1e-5)
    assert text_targets(gallery, "all").dtype == np.float32
    later = text_targets(gallery.take(np.array([2, 0])), "all")
    np.testing.assert_allclose(later, text_targets(gallery, "all")[[2, 0]])


def test_a_gallery_without_text_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match="build-gallery cities TABLE --text clip"):
        text_targets(cities(), "all")
    unnamed = with_text(cities(), encoder())
    unnamed.text["city"][1] = 0
    with pytest.raises(InputError, match="no text of 1 of its cities"):
        text_targets(unnamed, "all")
    unnamed.text["city"][1] = np.nan
    with pytest.raises(FormatError, match="text is damaged"):
        text_targets(unnamed, "city")


def test_an_encoder_that_gives_no_number() -> None:
    class Broken(Toy):
        def __call__(self, texts: Sequence[str]) -> torch.Tensor:
            return super().__call__(texts) * torch.tensor(
                [[1.0 if text != "Flanders" else torch.nan] for text in texts]
            )

    with pytest.raises(FormatError, match="'Flanders'; are its weights damaged"):
        with_text(cities(), cast(TextEncoder, Broken()))


def test_hdf5_keeps_text_and_other_formats_refuse_it(tmp_path: Path) -> None:
    gallery = with_text(cities(), encoder())
    write_gallery(tmp_path / "g.h5", gallery)
    back = read_gallery(tmp_path / "g.h5")
    assert back.text_encoder == SPEC and set(back.text) == set(gallery.text)
    assert all((back.text[level] == gallery.text[level]).all() for level in gallery.text)
    assert back.digest == cities().digest  # keys of a model are not made of it
    with pytest.raises(UsageError, match=r"need HDF5"):
        write_gallery(tmp_path / "g.csv", gallery)
    with pytest.raises(FormatError, match="of city for"):
        replace(gallery, text={"city": gallery.text["city"][:2]})
    with pytest.raises(FormatError, match="its encoder None"):
        replace(gallery, text_encoder=None)


def test_text_is_not_taken_for_features_of_frames(tmp_path: Path) -> None:
    gallery = with_text(cities(), encoder())
    write_gallery(tmp_path / "g.h5", gallery)
    with pytest.raises(InputError, match="holds positions only"):
        Localizer(load_model("nearest"), gallery, COMPUTE, places=False)
    with pytest.raises(InputError, match="holds no features to keep"):
        read_places([tmp_path / "g.h5"], keep_features=True)
    points = build_gallery("points", [tmp_path / "g.h5", tmp_path / "g.h5"], tmp_path / "p.csv")
    assert len(points) == 6 and not points.text and list(points.labels["city"][:2]) == ["Ghent", "Bruges"]
    assert not read_places([tmp_path / "g.h5"]).text
    assert not join([gallery, cities()]).text
    with pytest.raises(UsageError, match="text is of the names of cities"):
        build_gallery("points", [tmp_path / "g.h5"], tmp_path / "p.h5", text=encoder())


@pytest.mark.skipif(find_spec("geoclip") is None, reason="the released GeoCLIP is not installed")
def test_answers_do_not_change_by_text() -> None:
    model = load_model("geoclip")
    clip: Any = SimpleNamespace(
        video_id="v", source="v.h5", time_s=np.arange(2.0), frame_index=None, start_utc=None,
        features={"clip": np.random.default_rng(0).normal(size=(2, 768))},
    )  # fmt: skip
    plain, told = (Localizer(model, gallery, COMPUTE)(clip) for gallery in (cities(), with_text(cities(), encoder())))
    assert (plain.candidates_deg == told.candidates_deg).all() and plain.votes == told.votes
    assert (plain.candidate_scores == told.candidate_scores).all()


def test_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "small-clip")
    Path("t.csv").write_text(TABLE)
    assert run(["build-gallery", "cities", "t.csv", "--text", "small-clip", "--out", "c.h5"]) == 0
    assert "text of city, state, country" in capfd.readouterr().err
    words = ["build-gallery", "cities", "t.csv", "--text", "clip", "--offline", "--out"]
    assert run([*words, "d.h5", "--weights", "clip=small-clip"]) == 0
    one, other = read_gallery("c.h5"), read_gallery("d.h5")
    assert other.text_encoder is not None and other.text_encoder.name == "clip:openai/clip-vit-base-patch32"
    assert one.text_encoder is not None and one.text_encoder.weights_hash == other.text_encoder.weights_hash
    assert (one.text["city"] == other.text["city"]).all()
    raw = load_text("small-clip", COMPUTE)(["Ghent", "Singapore"])
    np.testing.assert_allclose(one.text["city"], raw / raw.norm(dim=1, keepdim=True), atol=1e-6)
    np.testing.assert_allclose(one.text["country"][1], one.text["city"][1])
    assert run([*words, "e.h5"]) == 69
    assert "--weights clip=PATH" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["grid", "t.csv", "--text", "clip"], 2, "--text belongs to cities"),
        (["cities", "t.csv", "--weights", "x"], 2, "--text, which is not given"),
        (["cities", "t.csv", "--text", "clop"], 2, "no encoder of text"),
        (["cities", "t.csv", "--text", "clip", "--weights", "nowhere"], 66, "no such folder"),
        (["cities", "t.csv", "--text", "small-clip", "--out", "c.csv"], 2, "need HDF5"),
    ],
)
def test_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    words: list[str], code: int, says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "small-clip")
    Path("t.csv").write_text(TABLE)
    assert run(["build-gallery", *words]) == code
    assert says in capfd.readouterr().err
    assert not Path("gallery.h5").exists()
