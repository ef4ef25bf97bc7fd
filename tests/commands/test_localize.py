"""`vgeo localize` as a user types it, on real clips and on made ones."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import vgeo
from vgeo.cli import run
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError
from vgeo.formats.checkpoints import save_model
from vgeo.formats.features import FeatureWriter
from vgeo.formats.gallery import Gallery, write_gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods.geoclip import GeoClip
from vgeo.methods.settings import to_dict
from vgeo.records import Localization
from vgeo.stages.batch import Batch
from vgeo.stages.localize import Prepared
from vgeo.stages.localize_inputs import Task

GIST = EncoderSpec(name="gist", dim=8, weights="none", weights_hash="none", preprocessing="p", settings={})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_features(path: Path, videos: int = 3, spec: EncoderSpec = GIST) -> None:
    rng = np.random.default_rng(0)
    with FeatureWriter(path, {spec.name: spec}, "rate_hz=1", "pyav") as writer:
        for v in range(videos):
            features = {spec.name: rng.normal(size=(4, spec.dim))}
            positions = np.full((4, 2), float(v)) + np.arange(4)[:, None] * 1e-3
            writer.add(f"v{v}", features, np.arange(4.0), positions, start_utc="2024-05-01T10:00:00Z")
        writer.finish()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def chain(here: Path) -> Path:
    """A folder with features.h5 and a gallery of the same frames."""
    write_features(here / "features.h5")
    assert run(["build-gallery", "points", "features.h5", "--keep-features"]) == 0
    return here


def test_bare_command_in_a_prepared_folder(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run(["localize", "--method", "nearest"]) == 0
    captured = capfd.readouterr()
    collection = json.loads(captured.out)
    points = [f for f in collection["features"] if f["geometry"]["type"] == "Point"]
    assert len(points) == 12
    assert points[5]["geometry"]["coordinates"] == [1.001, 1.001]
    assert points[5]["properties"]["place"]
    assert len(points[5]["properties"]["candidates"]) == 5
    assert "localizing features.h5" in captured.err
    assert "gallery gallery.h5, 12 places" in captured.err


def test_every_format_reads_back(chain: Path) -> None:
    for format in ("geojson", "geojsonl", "gpx", "kml", "csv"):
        assert run(["localize", "-m", "nearest", "--no-places", "--out", f"t.{format}"]) == 0
        tracks = vgeo.read_tracks(chain / f"t.{format}")
        assert [track.video_id for track in tracks] == ["v0", "v1", "v2"]
        assert tracks[2].latlon_deg[3].tolist() == [2.003, 2.003]


def test_features_are_taken_whole_and_it_says_so(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["localize", "-m", "nearest", "--rate-hz", "0.5", "--out", "t.csv"]) == 0
    assert "feature files are taken whole" in capfd.readouterr().err
    assert len((chain / "t.csv").read_text().splitlines()) == 1 + 3 * 4


def test_a_map_page_beside_the_tracks(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["localize", "-m", "nearest", "--out", "t.geojson", "--map", "t.html"]) == 0
    page = (chain / "t.html").read_text()
    assert all(f'"{video_id}"' in page for video_id in ("v0", "v1", "v2"))
    assert run(["localize", "-m", "nearest", "--map", "t.html"]) == 73
    assert run(["localize", "-m", "nearest", "--out", "tracks/", "--map", "other.html"]) == 2
    assert "--map other.html: goes with one file" in capfd.readouterr().err
    assert not (chain / "other.html").exists()


def test_an_early_end_leaves_a_whole_collection_on_stdout_and_no_file(
    chain: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(self: Prepared, task: Task, *rest: object) -> Localization:
        if task.video_id == "v1":
            raise FormatError("v1: made to fail")
        return whole(self, task, *rest)  # type: ignore[arg-type]

    whole = Prepared.one
    monkeypatch.setattr(Prepared, "one", one)
    capfd.readouterr()
    assert run(["localize", "-m", "nearest", "--fail-fast"]) == 65
    captured = capfd.readouterr()
    assert {f["properties"]["video_id"] for f in json.loads(captured.out)["features"]} == {"v0"}
    assert "v1: made to fail" in captured.err
    assert run(["localize", "-m", "nearest", "--fail-fast", "--out", "t.geojson"]) == 65
    assert not (chain / "t.geojson").exists()


def test_nothing_is_overwritten_or_done_twice(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    args = ["localize", "-m", "nearest", "--out", "t.csv"]
    assert run(args) == 0
    before = (chain / "t.csv").stat().st_mtime_ns
    capfd.readouterr()
    assert run(args) == 73
    assert "--overwrite" in capfd.readouterr().err
    assert (chain / "t.csv").stat().st_mtime_ns == before
    assert run([*args, "--overwrite"]) == 0


def test_a_folder_of_results_resumes(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    args = ["localize", "-m", "nearest", "--out", "tracks/", "--format", "gpx", "--report", "report.jsonl"]
    assert run(args) == 0
    capfd.readouterr()
    assert len(vgeo.read_tracks(chain / "tracks")) == 3
    assert capfd.readouterr().err == "", "notes are no tracks"
    assert sorted(p.name for p in (chain / "tracks").iterdir()) == [".localize.json", "v0.gpx", "v1.gpx", "v2.gpx"]
    (chain / "tracks" / "v1.gpx").unlink()
    assert run(args) == 0
    assert [line["status"] for line in lines(chain / "report.jsonl")] == ["skipped", "done", "skipped"]
    capfd.readouterr()
    assert run([*args, "--top-k", "2"]) == 78
    assert "5, now 2" in capfd.readouterr().err
    assert run([*args, "--top-k", "2", "--overwrite"]) == 0
    assert [line["status"] for line in lines(chain / "report.jsonl")] == ["done"] * 3


def test_features_of_another_encoder(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_features(chain / "other.h5", spec=EncoderSpec(**{**_fields(GIST), "preprocessing": "q"}))
    assert run(["localize", "other.h5", "-m", "nearest"]) == 78
    assert "preprocessing 'q', not 'p'" in capfd.readouterr().err
    write_features(chain / "third.h5", spec=EncoderSpec(**{**_fields(GIST), "name": "dinov2"}))
    assert run(["localize", "third.h5", "-m", "nearest"]) == 78
    assert "precompute-features --encoder gist" in capfd.readouterr().err


def _fields(spec: EncoderSpec) -> dict:
    return {name: getattr(spec, name) for name in spec.__slots__}


def test_wrong_words(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_features(here / "features.h5")
    for words, code, hint in [
        (["--method", "neerest"], 2, "nearest"),
        (["--model", "m", "--method", "nearest"], 2, "one of them"),
        (["--model", "nowhere"], 66, "vgeo train"),
        (["--method", "nearest"], 66, "vgeo build-gallery points --keep-features"),
        (["--format", "shp"], 2, "geojson"),
        (["--report", "-"], 2, "--report -"),
        (["--out", "x.shp"], 2, "geojson"),
        (["--out", "/proc/x/y.csv"], 73, "cannot be created"),
        (["none.mp4", "-m", "nearest"], 66, "none.mp4"),
        (["--top-k", "0"], 2, "top-k"),
        (["--decoder", "magic"], 2, "--decoder magic"),
        (["--weights", "clip=a", "--weights", "clip=b"], 2, "given before"),
        (["--track", "none.gpx"], 66, "none.gpx"),
    ]:
        assert run(["localize", *words]) == code, words
        error = capfd.readouterr().err
        assert hint in error
        assert "Traceback" not in error
    (here / "features.h5").unlink()
    assert run(["localize", "-m", "nearest"]) == 66
    assert "nothing to localize" in capfd.readouterr().err


def test_without_weights_it_says_how_to_get_them(
    here: Path, shared_dir: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = str(shared_dir / "data" / "gopro-gps-videos" / "hero8-trimmed.mp4")
    if vgeo_has_release():
        assert run(["localize", clip, "--offline", "--out", "t.geojson"]) == 69
        error = capfd.readouterr().err
        for hint in ("openai/clip-vit-large-patch14", "--weights clip=", "--method nearest"):
            assert hint in error
    from vgeo.formats import geoclip_release

    monkeypatch.setattr(geoclip_release.importlib.util, "find_spec", lambda name: None)
    assert run(["localize", clip, "--offline", "--out", "t.geojson"]) == 69
    assert "pip install geoclip" in capfd.readouterr().err
    assert not (here / "t.geojson").exists()


def vgeo_has_release() -> bool:
    from importlib.util import find_spec

    return find_spec("geoclip") is not None


def test_released_heads_over_a_local_clip(here: Path, shared_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """CLIP of the right architecture with random weights, GeoCLIP's own heads, a small gallery: valid GeoJSON."""
    if not vgeo_has_release():
        pytest.skip("the package geoclip is not installed")
    make_clip(here / "clip")
    rng = np.random.default_rng(0)
    write_gallery(here / "places.csv", Gallery(latlon_deg=rng.uniform(-60, 60, (200, 2))))
    clips = shared_dir / "data" / "gopro-gps-videos"
    (here / "clips").mkdir()
    shutil.copy(clips / "hero8-trimmed.mp4", here / "clips")
    shutil.copy(clips / "hero5-trimmed.mp4", here / "clips")
    (here / "clips" / "damaged.mp4").write_bytes((clips / "hero6-trimmed.mp4").read_bytes()[:20_000])
    args = ["localize", "--weights", "clip=clip", "--gallery", "places.csv", "--report", "report.jsonl"]
    assert run([*args, "--out", "traj.geojson"]) == 3
    status = {Path(line["input"]).stem: line["status"] for line in lines(here / "report.jsonl")}
    assert status == {"damaged": "failed", "hero5-trimmed": "done", "hero8-trimmed": "done"}
    collection = json.loads((here / "traj.geojson").read_text())
    kinds = [feature["geometry"]["type"] for feature in collection["features"]]
    assert kinds.count("LineString") == 2
    assert kinds.count("Point") == 6
    for feature in collection["features"]:
        if feature["geometry"]["type"] == "Point":
            properties = feature["properties"]
            assert 0 < properties["confidence"] <= 1
            assert 0 <= properties["radius_km"] <= 20_016
            assert properties["candidates"][0]["lon_deg"] == feature["geometry"]["coordinates"][0]
    capfd.readouterr()
    assert run([*args[:-2], "clips/hero5-trimmed.mp4", "--out", "-", "--format", "csv", "--count", "1"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2


def make_clip(folder: Path) -> None:
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    narrow = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=narrow | {"vocab_size": 100, "bos_token_id": 0, "eos_token_id": 1, "projection_dim": 768},
        vision_config=narrow | {"patch_size": 32, "image_size": 224, "projection_dim": 768},
        projection_dim=768,
    )
    CLIPModel(config).save_pretrained(folder)


def test_a_walk_is_found_again_without_gps(here: Path, shared_dir: Path) -> None:
    """Three clips with GPS make the gallery; a fourth, without, was filmed on the walkway of one of them."""
    data = shared_dir / "data" / "gopro-gps-videos"
    (here / "clips").mkdir()
    for name in ("max-heromode", "karma", "hero5-trimmed"):
        shutil.copy(data / f"{name}.mp4", here / "clips")
    weights = str(shared_dir / "data" / "squeezenet-imagenet" / "squeezenet1_0.safetensors")
    assert run(["extract-frames", "clips", "--size", "224"]) == 0
    encoder = ["-e", "torchvision:squeezenet1_0", "--weights", weights, "--set", "input_style=caffe"]
    assert run(["precompute-features", *encoder]) == 0
    assert run(["build-gallery", "points", "--keep-features"]) == 0
    query = str(data / "hero8-trimmed.mp4")
    assert run(["localize", query, "--method", "nearest", "--out", "t.geojson"]) == 0
    (track,) = vgeo.read_tracks(here / "t.geojson")
    walkway = np.loadtxt(data / "max-heromode.gps5.csv", delimiter=",", skiprows=1, usecols=(0, 1))
    off_km = distance_km(track.latlon_deg[:, None], walkway[None]).min(1)
    assert len(track) == 3
    assert (off_km < 0.002).all()
    assert run(["localize", "frames", "--method", "nearest", "--out", "own.csv"]) == 0
    own, truth = vgeo.read_tracks(here / "own.csv"), vgeo.read_tracks(here / "frames" / "frames.jsonl")
    assert [t.video_id for t in own] == [t.video_id for t in truth] and len(own) == 3
    for a, b in zip(own, truth, strict=True):  # each frame finds itself
        assert distance_km(a.latlon_deg, b.latlon_deg).max() < 1e-5
    karma = distance_km(track.latlon_deg[0], [33.12538, -117.33107])
    assert karma > 0.3  # so that the check above can fail


def test_python_api(chain: Path) -> None:
    found = list(vgeo.localize("features.h5", "nearest", "gallery.h5", top_k=2, places=False))
    assert [clip.track.video_id for clip in found] == ["v0", "v1", "v2"]
    assert found[0].candidates_deg.shape == (4, 2, 2)
    assert found[0].track.start_utc is not None
    model = vgeo.load_model("nearest", settings=["temperature=1"])
    flat = next(iter(vgeo.localize(["features.h5"], model)))
    assert (flat.candidate_scores[:, 0] < found[0].candidate_scores[:, 0]).all()
    with pytest.raises(InputError, match="nowhere"):
        vgeo.localize("nowhere.mp4", "nearest")  # at once, not when the first clip is asked for


def test_two_clips_of_one_name(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copy("features.h5", "again.h5")
    assert run(["localize", "features.h5", "again.h5", "-m", "nearest"]) == 66
    assert "both named v0" in capfd.readouterr().err


def test_batch_from_python(chain: Path) -> None:
    with Batch() as batch:
        assert len(list(vgeo.localize(["features.h5"], "nearest", batch=batch))) == 3
    assert [outcome.status for outcome in batch.outcomes] == ["done"] * 3
    assert batch.outcomes[0].frames == 4


def test_the_model_trained_here_comes_first(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    method = GeoClip(dataclasses.replace(GeoClip.debug_config(), encoder="gist", feature_dim=8))
    save_model(
        chain / "models" / "geoclip",
        method="geoclip",
        config=to_dict(method.config),
        encoders={"gist": GIST},
        state=method.state_dict(),
        write_more=lambda folder: write_gallery(folder / "gallery.h5", Gallery(latlon_deg=np.array([[7.0, 8.0]]))),
    )
    (chain / "gallery.h5").unlink()
    capfd.readouterr()
    assert run(["localize", "--format", "csv"]) == 0
    captured = capfd.readouterr()
    assert captured.out.count(",7.0000000,8.0000000,1.0,0.0,") == 12
    assert "model models/geoclip, which was trained here" in captured.err
    assert "gallery models/geoclip/gallery.h5, 1 places" in captured.err
