"""GAMa from the command line: frames and tiles of a few colours; a small model learns which belong together."""

import json
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgeo.cli import run
from vgeo.geo.tiles import position

ZOOM, X, Y = 19, 154_000, 197_000
COLOURS = np.array([[230, 40, 40], [40, 220, 50], [50, 60, 235], [220, 215, 40], [40, 210, 215], [215, 50, 220]])
SETTINGS = (
    "init=scratch", "width=4", "heads=2", "feedforward=16", "aerial_stem=torchvision", "frame_px=18,34",
    "crop_px=16,32", "tile_px=36", "tile_crop_px=32", "tokens=2", "embed_dim=16", "ground_dropout=0", "dropout=0",
    "learning_rate=5e-3", "milestones=1000", "augment=crop", "early_s=0", "temperature=0.2",
)  # fmt: skip
SCREENING = (
    "init=scratch", "width=4", "aerial_stem=torchvision", "tile_px=36", "tile_crop_px=32", "embed_dim=16",
    "sequence=4", "learning_rate=5e-3",
)  # fmt: skip


def noisy(colour: np.ndarray, shape: tuple[int, int], seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(-25, 26, (*shape, 3))
    return Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8))


def at(tile: int, south: int = 0) -> tuple[float, float]:
    lat, lon = position(X + 3 * tile + 0.5, Y + south + 0.5, ZOOM)
    return float(lat), float(lon)


def words(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six places of 3 x 3 tiles of a colour, next to each other; two videos of three seconds at each, one held out."""
    folder = tmp_path_factory.mktemp("gama")
    (folder / "tiles").mkdir()
    for place, colour in enumerate(COLOURS):
        for east in (-1, 0, 1):
            for south in (-1, 0, 1):
                seed = 100 * place + 10 * east + south + 11
                name = f"{X + 3 * place + east}_{Y + south}.png"
                noisy(colour, (36, 36), seed).save(folder / "tiles" / name)
    lines = []
    for place, colour in enumerate(COLOURS):
        for split in ("train", "val"):
            video = f"{split}{place}"
            (folder / "frames" / video).mkdir(parents=True)
            for i in range(45):
                path = f"{video}/{i:03d}.png"
                noisy(colour, (18, 34), 7919 * place + i + 5000 * (split == "val")).save(folder / "frames" / path)
                lat, lon = at(place)
                record = {"video_id": video, "frame_index": i, "time_s": round(i / 15, 6), "path": path}
                lines.append(json.dumps(record | {"lat_deg": lat, "lon_deg": lon, "labels": {"split": split}}))
    (folder / "frames" / "frames.jsonl").write_text("\n".join(lines) + "\n")
    with chdir(folder):
        assert run(["build-gallery", "aerial", "tiles"]) == 0
        assert (
            run(["build-gallery", "aerial", "tiles", "--regions", "--across", "3", "--step", "3", "--out", "r.h5"]) == 0
        )
        train = ["train", "--method", "gama", *words(SETTINGS), "--epochs", "60", "--batch-size", "6"]
        assert run([*train, "--device", "cpu", "--precision", "fp32", "--eval-every", "20"]) == 0
        train = ["train", "--method", "screening", "--gallery", "r.h5", "--tiles", "gallery.h5", *words(SCREENING)]
        assert run([*train, "--epochs", "40", "--batch-size", "6", "--precision", "fp32", "--eval-every", "20"]) == 0
    return folder


def answers(path: Path) -> dict[str, list[list[float]]]:
    """Positions (lon, lat) of each video's track."""
    found: dict[str, list[list[float]]] = {}
    for feature in json.loads(path.read_text())["features"]:
        if feature["properties"]["kind"] == "frame":
            found.setdefault(feature["properties"]["video_id"], []).append(feature["geometry"]["coordinates"])
    return found


def places_of(tracks: dict[str, list[list[float]]]) -> dict[str, list[int]]:
    """The nearest of the six places."""
    east = np.array([at(tile)[1] for tile in range(len(COLOURS))])
    return {video: [int(np.abs(east - lon).argmin()) for lon, _ in track] for video, track in tracks.items()}


TRUE = {f"val{place}": [place] * 3 for place in range(len(COLOURS))}


def test_held_out_clips_are_found_on_tiles_of_their_colour(here: Path) -> None:
    with chdir(here):
        assert (
            run(["localize", "frames", "--split", "val", "--method", "gama", "--screening", "none", "-o", "a.geojson"])
            == 0
        )
    found = places_of(answers(here / "a.geojson"))
    assert list(found) == list(TRUE) and all(len(track) == 3 for track in found.values()), "a clip a second"
    right = np.mean([said == truth for video in TRUE for said, truth in zip(found[video], TRUE[video], strict=True)])
    assert right >= 0.9, found
    lat, lon = position(X + 0.5, Y + 0.5, ZOOM)
    assert abs(answers(here / "a.geojson")["val0"][0][0] - lon) < 0.002 and lat


def test_clips_are_searched_for_again_in_the_regions_that_their_tiles_lead_to(here: Path) -> None:
    """Six regions of 3 x 3 tiles; kept is one, and all answers of a video lie in it."""
    with chdir(here):
        words = ["localize", "frames", "--split", "val", "--method", "gama", "--keep", "1", "--top-k", "30"]
        assert run([*words, "--out", "b.geojson"]) == 0
    document = json.loads((here / "b.geojson").read_text())
    right = []
    for feature in document["features"]:
        said = feature["properties"]
        if said["kind"] == "frame":
            lons = [candidate["lon_deg"] for candidate in said["candidates"]]
            assert len(lons) == 9, "the tiles of one region"
            assert sum(candidate["probability"] for candidate in said["candidates"]) == pytest.approx(1, abs=1e-4)
            assert max(lons) - min(lons) < 0.0015
            place = int(said["video_id"][-1])
            right.append(abs(np.mean(lons) - at(place)[1]) < 1e-4)
    assert np.mean(right) >= 0.8


def test_a_feature_file_of_the_model_gives_the_same_track(here: Path) -> None:
    with chdir(here):
        assert (
            run(["precompute-features", "frames", "--model", "models/gama", "--out", "q.h5", "--precision", "fp32"])
            == 0
        )
        same = ["--split", "val", "--method", "gama", "--precision", "fp32"]
        assert run(["localize", "frames", *same, "--out", "c.geojson"]) == 0
        assert run(["localize", "q.h5", *same, "--out", "d.geojson"]) == 0
    assert answers(here / "c.geojson") == answers(here / "d.geojson")


def test_a_run_is_resumed_as_if_never_stopped(here: Path) -> None:
    with chdir(here):
        train = [
            "train",
            "--method",
            "gama",
            *words(SETTINGS),
            "--batch-size",
            "6",
            "--precision",
            "fp32",
            "--seed",
            "1",
        ]
        assert run([*train, "--epochs", "4", "--out", "m4"]) == 0
        assert run([*train, "--epochs", "2", "--out", "m2"]) == 0
        assert run([*train, "--epochs", "4", "--out", "m2", "--resume"]) == 0
        weights = [(Path(name) / "last" / "model.safetensors").read_bytes() for name in ("m4", "m2")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["localize", "frames", "--model", "models/screening"], 2, "--screening models/screening"),
        (["localize", "frames", "--method", "gama", "--rate-hz", "5"], 2, "clips of its own making"),
        (["localize", "frames", "--method", "gama", "--screening", "models/gama"], 2, "does not tell regions"),
        (["localize", "frames", "--method", "gama", "--keep", "0"], 2, "give a number above 0"),
        (["localize", "frames", "--method", "gama", "--screening", "none", "--keep", "1%"], 2, "there is none"),
        (["localize", "frames", "--method", "geoclip", "--keep", "1%"], 2, "searches no tiles"),
        (["localize", "frames", "--method", "gama", "--gallery", "r.h5"], 66, "one of regions"),
        (["train", "--method", "gama", "--gallery", "r.h5", "--out", "x"], 65, "a gallery of regions, not of tiles"),
        (["train", "--method", "gama", "--gallery", "none.h5", "--out", "x"], 66, "build-gallery aerial TILES"),
        (["train", "--method", "gama", "--rankings", "a.json", "--out", "x"], 2, "they are for screening"),
        (["train", "--method", "gama", "--labels", "a.csv", "--out", "x"], 2, "learns tiles"),
        (["train", "q.h5", "--method", "gama", "--out", "x"], 2, "sees frames"),
        (["train", "--method", "gama", "--layout", "msls", "--out", "x"], 2, "one folder of gama"),
        (["train", "--method", "screening", "--phase", "predicted", "--gallery", "r.h5", "--tiles", "gallery.h5",
          "--set", "init=scratch", "--out", "x"], 2, "give it with --rankings"),
        (["train", "q.h5", "--method", "geoclip", "--tiles", "gallery.h5", "--out", "x"], 2, "learns no tiles"),
        (["precompute-features", "frames", "--model", "models/screening", "--out", "x.h5"], 2, "sees clips itself"),
        (["precompute-features", "frames", "--model", "models/gama", "-e", "gist", "--out", "x.h5"], 2, "leave out"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(
    here: Path, capfd: pytest.CaptureFixture[str], typed: list[str], code: int, said: str
) -> None:
    capfd.readouterr()
    with chdir(here):
        assert run([*typed]) == code
    lines = capfd.readouterr().err.strip().splitlines()
    assert said in lines[-1] and lines[-1].startswith("vgeo: ") and not Path(here / "x").exists()
