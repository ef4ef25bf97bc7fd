"""`localize --refine-km`, from the command and from Python: finer answers, and what it says when it cannot."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vgeo
from vgeo.cli import run
from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError
from vgeo.formats.checkpoints import save_model
from vgeo.formats.features import FeatureWriter
from vgeo.formats.gallery import Gallery, write_gallery
from vgeo.geo.grid import Box, grid
from vgeo.geo.lattice import Lattice
from vgeo.geo.sphere import distance_km
from vgeo.layers.location_encoder import LocationEncoder
from vgeo.methods.settings import to_dict
from vgeo.methods.vidtag import VidTag
from vgeo.search import when_cells_pay
from vgeo.stages.localizer import ClipQuery, Localizer
from vgeo.stages.models import Model
from vgeo.stages.searches import ExactGallery, RefinedGallery, gallery_search

COMPUTE = Compute(torch.device("cpu"), torch.float32)
BOX = Box(south_deg=52.0, north_deg=52.1, west_deg=179.95, width_deg=0.15)
WIDTHS = {"clip": 24, "dinov2": 32}
SPECS = {
    name: EncoderSpec(name=name, dim=dim, weights="-", weights_hash="h", preprocessing="-", settings={})
    for name, dim in WIDTHS.items()
}


def model(levels: bool = True, refining: bool = False) -> Model:
    torch.manual_seed(0)
    config = dataclasses.replace(
        VidTag.debug_config(), sigmas=(256.0, 32768.0), level_radii_km=(1.0, 0.02) if levels else ()
    )
    method = VidTag(config).eval()
    method.refining.fill_(refining)
    return Model(name="vidtag", method=method, encoders=SPECS, hash="h", folder=None, gallery=None)


def coarse(**attributes: object) -> Gallery:
    return Gallery(latlon_deg=grid(BOX, 1.0), attributes=attributes)


def query(frames: int = 6, seed: int = 0) -> ClipQuery:
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(frames, dim)) for name, dim in WIDTHS.items()}
    return ClipQuery(video_id="v", source="v.mp4", features=features, time_s=np.arange(frames))


@pytest.mark.parametrize("refining", [False, True])
def test_answers_are_cells_of_the_fine_lattice_near_the_gallery(refining: bool) -> None:
    kept = model(refining=refining)
    found = Localizer(kept, coarse(), COMPUTE, top_k=3, refine_km=0.02)(query())
    assert found.candidates_deg.shape == (6, 3, 2)
    lattice = Lattice(0.02)
    answers = found.candidates_deg.reshape(-1, 2)
    row = np.floor((answers[:, 0] + 90) / 180 * lattice.rows).astype(np.int64)
    column = np.floor((answers[:, 1] + 180) / 360 * lattice.columns(row)).astype(np.int64)
    assert np.allclose(lattice.latlon_deg(np.stack([row, column], 1)), answers, rtol=0, atol=1e-9)
    assert distance_km(answers[:, None], coarse().latlon_deg).min(1).max() < 1.2
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    assert (found.confidence >= found.candidate_scores[:, 0] - 1e-6).all()
    assert (np.diff(found.candidate_scores) <= 0).all()
    assert len(found.places) == 6
    assert np.array_equal(found.track.latlon_deg, found.candidates_deg[:, 0])


def test_the_second_retrieval_is_refined_as_well() -> None:
    """GeoRefiner is shown the track that refined search finds, and its output is searched for the same way."""
    kept = model(refining=True)
    shown = []
    plain = kept.method.refined

    def watched(clips: object, latlon_BT2: torch.Tensor) -> torch.Tensor:
        shown.append(latlon_BT2[0].numpy().copy())
        return plain(clips, latlon_BT2)  # type: ignore[arg-type]

    kept.method.refined = watched  # type: ignore[method-assign,assignment]
    Localizer(kept, coarse(), COMPUTE, refine_km=0.02, places=False)(query())
    kept.method.refining.fill_(False)
    first = Localizer(kept, coarse(), COMPUTE, refine_km=0.02, places=False)(query())
    assert np.array_equal(shown[0], first.track.latlon_deg)


def test_what_is_searched_how(caplog: pytest.LogCaptureFixture) -> None:
    kept = model()
    assert isinstance(gallery_search(kept, coarse(), COMPUTE, None), ExactGallery)
    assert isinstance(gallery_search(kept, coarse(), COMPUTE, 0.1), RefinedGallery)
    with caplog.at_level("INFO"):
        assert isinstance(gallery_search(kept, coarse(), COMPUTE, 5.0), ExactGallery)
    assert "nothing to refine" in caplog.text
    with pytest.raises(InputError, match="4 places do not tell how far they are apart"):
        gallery_search(kept, Gallery(latlon_deg=coarse().latlon_deg[[0, 1, 2, 3, 3]]), COMPUTE, 0.1)
    few = Gallery(latlon_deg=coarse().latlon_deg[[0, 1, 2, 3, 3]], attributes={"spacing_km": 1.0})
    assert isinstance(gallery_search(kept, few, COMPUTE, 0.1), RefinedGallery)
    odd = dataclasses.replace(coarse(), attributes={"spacing_km": "far"})
    assert isinstance(gallery_search(kept, odd, COMPUTE, 0.1), RefinedGallery)


def test_places_that_fill_many_rows_do_not_fill_the_beam() -> None:
    once = coarse()
    often = once.take(np.concatenate([np.arange(len(once)), np.repeat(np.arange(3), 200)]))
    a, b = (Localizer(model(), g, COMPUTE, refine_km=0.1, places=False)(query()) for g in (once, often))
    assert np.array_equal(a.candidates_deg, b.candidates_deg)
    assert np.array_equal(a.confidence, b.confidence)


def test_votes_are_the_gallerys_own_rows() -> None:
    city = np.where(coarse().latlon_deg[:, 0] < 52.05, "South", "North").astype(object)
    named = dataclasses.replace(coarse(), labels={"city": city})
    found = Localizer(model(), named, COMPUTE, refine_km=0.1, places=False)(query())
    plain = Localizer(model(), coarse(), COMPUTE, refine_km=0.1, places=False)(query())
    assert found.votes is not None
    assert found.votes.labels.city in ("South", "North")
    assert sum(vote.share for vote in found.votes.ranking[0]) == pytest.approx(1)
    assert np.array_equal(found.candidates_deg, plain.candidates_deg)


def test_features_of_another_width() -> None:
    kept = model()
    other = VidTag(dataclasses.replace(kept.method.config, embed_dim=16))
    localizer = Localizer(kept, coarse(), COMPUTE, refine_km=0.1)
    localizer.model = dataclasses.replace(kept, method=other)
    with pytest.raises(FormatError, match="32 wide, the model's 16"):
        localizer(query())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """features.h5, gallery.h5 of 1 km, and two models: `fine` has levels, `plain` has not."""
    monkeypatch.chdir(tmp_path)
    for name, levels in (("fine", True), ("plain", False)):
        made = model(levels)
        save_model(
            tmp_path / name, method="vidtag", config=to_dict(made.method.config), encoders=SPECS,
            state=made.method.state_dict(),
        )  # fmt: skip
    write_gallery("gallery.h5", coarse(kind="grid", spacing_km=1.0))
    with FeatureWriter(tmp_path / "features.h5", SPECS, "rate_hz=1", "pyav") as writer:
        for v in range(2):
            writer.add(f"v{v}", query(5, v).features, np.arange(5.0), np.full((5, 2), np.nan))
        writer.finish()
    return tmp_path


def test_the_command(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["localize", "--model", "fine", "--gallery", "gallery.h5", "--no-places"]
    assert run([*words, "--out", "coarse.csv"]) == 0
    assert run([*words, "--refine-km", "0.05", "--out", "fine.csv"]) == 0
    assert "are divided down to 0.05 km" in capfd.readouterr().err
    before, after = (vgeo.read_tracks(folder / name)[0].latlon_deg for name in ("coarse.csv", "fine.csv"))
    gallery = coarse().latlon_deg
    assert distance_km(before[:, None], gallery).min(1).max() < 1e-4
    assert distance_km(after[:, None], gallery).min(1).max() > 0.05
    assert run([*words, "--refine-km", "0.05", "--out", "-"]) == 0
    assert json.loads(capfd.readouterr().out)["type"] == "FeatureCollection"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--model", "plain", "--refine-km", "0.05"], 78, "level_radii_km"),
        (["--model", "fine", "--refine-km", "0"], 2, "--refine-km 0: must be at least 0.001, a metre"),
        (["--model", "fine", "--refine-km", "nan"], 2, "must be at least 0.001"),
        (["--model", "fine", "--refine-km", "ten"], 2, "not a valid float"),
    ],
)
def test_what_it_says(
    folder: Path, capfd: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    assert run(["localize", *words, "--gallery", "gallery.h5", "--out", "t.csv"]) == code
    assert message in " ".join(capfd.readouterr().err.replace("│", " ").split())
    assert not (folder / "t.csv").exists()


def test_a_folder_of_results_knows_how_fine_they_are(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["localize", "--model", "fine", "--gallery", "gallery.h5", "--no-places", "--out", "tracks/"]
    assert run(words) == 0
    assert run([*words, "--refine-km", "0.05"]) == 78
    assert "refine_km 0.0, now 0.05" in capfd.readouterr().err.replace("refine_km 0,", "refine_km 0.0,")


@pytest.mark.parametrize("scale", [14.0, 300.0])
def test_a_large_gallery_is_searched_by_cells_with_the_same_answers(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(when_cells_pay, "LARGE", 2000)
    monkeypatch.setattr(when_cells_pay, "PAYS", 50)
    once = np.random.default_rng(0).normal((48.0, 16.0), (2.0, 2.0), (1500, 2))
    gallery = Gallery(latlon_deg=np.concatenate([once, once[:700]]))
    encoder = LocationEncoder((4, 32), fourier=32, width=64, depth=1, dim=48)
    with torch.no_grad():
        keys = encoder(torch.from_numpy(gallery.latlon_deg))
        keys = torch.nn.functional.normalize(keys - keys.mean(0), dim=1)
    noise = torch.randn(120, 48, generator=torch.Generator().manual_seed(0)) * 0.05
    queries = torch.nn.functional.normalize(keys[:120] + noise, dim=1)
    search = ExactGallery(gallery, keys, scale)
    with torch.inference_mode():
        before = search(queries, None, k=5, rows=10, within_km=1.0)
        after = search(queries, None, k=5, rows=10, within_km=1.0)
    cells = search._by_cells._cells
    assert (cells is not None) == (scale > 100)
    if cells is not None:
        assert cells.best.queries == cells.totals.queries == 120
        assert cells.totals.left < 60
    assert np.array_equal(before.candidates_deg, after.candidates_deg)
    assert np.array_equal(before.row_TK, after.row_TK)
    assert np.allclose(before.probability_TK, after.probability_TK, rtol=1e-4)
    assert np.allclose(before.spread.confidence_N, after.spread.confidence_N, rtol=1e-4)
    assert torch.equal(before.spread.radius_km_N, after.spread.radius_km_N)
    assert np.array_equal(search.best_rows(queries), before.row_TK[:, 0])
    assert search._by_cells._cells is not None  # which find the best keys in any case
    assert (search._by_cells.for_totals(1) is None) == (scale < 100)
    keys[7] = torch.nan
    damaged = ExactGallery(gallery, keys, scale)
    damaged.best_rows(queries)
    with pytest.raises(FormatError, match="not finite"):
        damaged.best_rows(queries)
