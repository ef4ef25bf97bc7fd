"""`vgeo rank` step by step, with untrained networks: each file holds what the models themselves say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vgeo.cli import run
from vgeo.formats.checkpoints import save_model
from vgeo.formats.gallery import read_gallery
from vgeo.formats.rankings import read_rankings
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.geo.tiles import position
from vgeo.methods.base import Clips, Places
from vgeo.methods.gama import Gama
from vgeo.methods.screening import Screening
from vgeo.methods.settings import from_dict, to_dict

ZOOM, X, Y = 19, 154_000, 197_000
ACROSS, DOWN = 8, 6  # tiles
GAMA = {
    "init": "scratch", "width": 2, "heads": 2, "feedforward": 8, "aerial_stem": "torchvision", "frame_px": (18, 34),
    "crop_px": (16, 32), "tile_px": 36, "tile_crop_px": 32, "tokens": 2, "embed_dim": 8,
}  # fmt: skip
SCREENING = {
    "init": "scratch", "width": 2, "aerial_stem": "torchvision", "tile_px": 36, "tile_crop_px": 32, "embed_dim": 8,
    "sequence": 3,
}  # fmt: skip


def picture(shape, seed):
    """Noise over a colour of its own."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.integers(0, 256, 3) + rng.integers(-60, 61, (*shape, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """8 x 6 tiles, regions of 3 x 3 that overlap, two videos of 3 and 2.5 s at 15 Hz, and both models."""
    folder = tmp_path_factory.mktemp("rank")
    (folder / "tiles").mkdir()
    for x in range(ACROSS):
        for y in range(DOWN):
            Image.fromarray(picture((36, 36), 100 * x + y)).save(folder / "tiles" / f"{X + x}_{Y + y}.png")
    lines = []
    for video, frames in (("v0", 45), ("w_1", 38)):
        (folder / "frames" / video).mkdir(parents=True)
        for i in range(frames):
            path = f"{video}/{i:03d}.png"
            Image.fromarray(picture((18, 34), 10_000 + 1000 * len(video) + i)).save(folder / "frames" / path)
            lat, lon = position(X + 2.5, Y + 3.5, ZOOM)
            record = {"video_id": video, "frame_index": i, "time_s": round(i / 15, 6), "path": path}
            lines.append(json.dumps(record | {"lat_deg": float(lat), "lon_deg": float(lon)}))
    (folder / "frames" / "frames.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["build-gallery", "aerial", "tiles"]) == 0
        assert run(["build-gallery", "aerial", "tiles", "--regions", "--across", "3", "--step", "2", "-o", "r.h5"]) == 0
        for name, cls, changed, gallery in (
            ("gama", Gama, GAMA, "gallery.h5"),
            ("screening", Screening, SCREENING, "r.h5"),
        ):
            torch.manual_seed(3)
            method = cls(from_dict(cls.Config, changed))
            data = Path(gallery).read_bytes()
            save_model(
                folder / "models" / name,
                method=name,
                config=to_dict(method.config),
                encoders={},
                state=method.state_dict(),
                write_more=lambda inside, data=data: (inside / "gallery.h5").write_bytes(data),
            )
    return folder


@pytest.fixture
def here(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


def model(name, cls, changed):
    torch.manual_seed(3)
    method = cls(from_dict(cls.Config, changed))
    return method.eval()


@torch.inference_mode()
def clip_scores(here):
    """Clip -> similarity of each tile: eight pictures from a whole second on, compared with every tile."""
    method, tiles = model("gama", Gama, GAMA), read_gallery(here / "gallery.h5")
    pictures = tile_pictures(tiles)
    keys = method.keys(
        Places(
            latlon_deg=torch.from_numpy(tiles.latlon_deg),
            tiles_GSSC=torch.from_numpy(np.stack([pictures.read(row) for row in range(len(tiles))])),
        )
    )
    found = {}
    for video, seconds in (("v0", 3), ("w_1", 3)):
        for second in range(seconds):
            files = [here / "frames" / video / f"{15 * second + i:03d}.png" for i in range(8)]
            frames = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))[None]
            query = method.queries(Clips(frames_BTHWC=frames, mask_BT=torch.ones(1, 8, dtype=torch.bool)))[0, 0]
            found[f"{video}_{second}"] = (keys @ query).numpy()
    return found, [str(name) for name in tiles.labels["tile"]]


def agrees(order, scores, ids):
    """Whether ids stand in the order of their scores, whatever rounding does to equal ones."""
    row = {name: n for n, name in enumerate(ids)}
    said = np.array([scores[row[name]] for name in order])
    return bool((np.diff(said) <= 1e-5).all()) and len(set(order)) == len(order)


def test_the_steps_one_by_one(here, capfd):
    rank = ["rank", "--device", "cpu", "--precision", "fp32"]
    assert run([*rank, "frames", "--top", "100%", "--out", "clips.json"]) == 0
    clips = json.loads((here / "clips.json").read_text())
    scores, ids = clip_scores(here)
    assert list(clips) == list(scores)
    assert all(len(order) == ACROSS * DOWN and agrees(order, scores[clip], ids) for clip, order in clips.items())
    assert "6 clips of 2 videos" in capfd.readouterr().err

    assert run([*rank, "clips.json", "--out", "regions.json"]) == 0
    regions = json.loads((here / "regions.json").read_text())
    gallery = read_gallery(here / "r.h5")
    blocks = [str(name) for name in gallery.labels["region"]]
    assert list(regions) == ["v0", "w_1"] and all(sorted(order) == sorted(blocks) for order in regions.values())
    method, of_regions = model("screening", Screening, SCREENING), tile_pictures(gallery)
    of_tiles = tile_pictures(read_gallery(here / "gallery.h5"))
    with torch.inference_mode():
        places = Places(
            latlon_deg=torch.from_numpy(gallery.latlon_deg),
            tiles_GSSC=torch.from_numpy(np.stack([of_regions.read(row) for row in range(len(blocks))])),
        )
        keys = method.keys(places)
        for video, order in regions.items():
            best = [ids.index(clips[f"{video}_{second}"][0]) for second in range(3)]
            sequence = torch.from_numpy(np.stack([of_tiles.read(row) for row in best]))[None]
            mask = torch.ones(1, 3, dtype=torch.bool)
            query = method.queries(Clips(frames_BTHWC=sequence, mask_BT=mask))[0, 0]
            assert agrees(order, (keys @ query).numpy(), blocks)

    assert run([*rank, "frames", "--within", "regions.json", "--keep", "2", "--out", "again.json.gz"]) == 0
    assert run(["rank", "frames", "--within", "regions.json", "--keep", "2", "--top", "4", "--out", "four.json"]) == 0
    import gzip

    again = json.loads(gzip.decompress((here / "again.json.gz").read_bytes()))
    for clip, order in clips.items():
        corners = [tuple(map(int, name.split("_")[:2])) for name in regions[clip.rpartition("_")[0]][:2]]
        inside = [
            name
            for name in order
            if any(x <= int(name.split("_")[0]) < x + 3 and y <= int(name.split("_")[1]) < y + 3 for x, y in corners)
        ]
        assert 9 <= len(inside) <= 18
        assert again[clip] == inside
        assert json.loads((here / "four.json").read_text())[clip] == inside[:4]


def test_what_is_ranked_is_scored(here, capfd):
    assert run(["rank", "frames", "--top", "48", "--out", "clips.json", "--overwrite"]) == 0
    capfd.readouterr()
    truth = ["--truth", "frames/frames.jsonl", "--gallery", "gallery.h5"]
    assert run(["score-rankings", "clips.json", *truth, "--rule", "ucn"]) == 0
    said = json.loads(capfd.readouterr().out)
    clips = json.loads((here / "clips.json").read_text())
    ranks = [order.index(f"{X + 2}_{Y + 3}") for order in clips.values()]
    assert said["recall_at_10"] == pytest.approx(100 * np.mean(np.array(ranks) < 10))
    assert said["recall_at_10%_k"] == 4
    assert run(["rank", "clips.json", "--top", "3", "--out", "regions.json", "--overwrite"]) == 0
    capfd.readouterr()
    truth = ["--truth", "frames/frames.jsonl", "--gallery", "r.h5"]
    assert run(["score-rankings", "regions.json", *truth, "--rule", "regions", "--at", "3"]) == 0
    said = json.loads(capfd.readouterr().out)
    regions = json.loads((here / "regions.json").read_text())
    right = [
        any(0 <= X + 2 - int(r.split("_")[0]) < 3 and 0 <= Y + 3 - int(r.split("_")[1]) < 3 for r in order)
        for order in regions.values()
    ]
    assert said["recall_at_3"] == pytest.approx(100 * np.mean(right))


def test_localize_does_all_steps_at_once(here):
    assert run(["rank", "frames", "--out", "c.json"]) == 0
    assert run(["rank", "c.json", "--out", "r.json"]) == 0
    assert run(["rank", "frames", "--within", "r.json", "--keep", "2", "--top", "4", "--out", "w.json"]) == 0
    assert run(["localize", "frames", "--method", "gama", "--keep", "2", "--top-k", "4", "--out", "t.geojsonl"]) == 0
    named = json.loads((here / "w.json").read_text())
    said = [json.loads(line.lstrip("\x1e"))["properties"] for line in (here / "t.geojsonl").read_text().splitlines()]
    frames = [one for one in said if one["kind"] == "frame"]
    assert [f"{one['video_id']}_{round(one['time_s'])}" for one in frames] == list(named)
    for one, ids in zip(frames, named.values(), strict=True):
        places = [position(*(int(word) + 0.5 for word in name.split("_")), ZOOM) for name in ids]
        found = [(spot["lat_deg"], spot["lon_deg"]) for spot in one["candidates"]]
        np.testing.assert_allclose(found, places, atol=1e-6)


def test_one_video_fails_and_the_others_are_ranked(here, capfd):
    (here / "some.json").write_text(json.dumps({"v0": [f"{X}_{Y}_3"]}))
    words = ["rank", "frames", "--within", "some.json", "--keep", "1", "--out", "part.json", "--report", "report.jsonl"]
    assert run(words) == 3
    assert "w_1" in capfd.readouterr().err
    assert {clip.rpartition("_")[0] for clip in json.loads((here / "part.json").read_text())} == {"v0"}
    report = [json.loads(line) for line in (here / "report.jsonl").read_text().splitlines()]
    assert [line["status"] for line in report] == ["done", "failed"]


def test_a_gap_and_still_pictures_name_no_clip_twice(here, capfd):
    """What the command writes it can read again; that the pictures hardly move is said."""
    lines = [json.loads(line) for line in (here / "frames" / "frames.jsonl").read_text().splitlines()]
    gap = [line for line in lines if line["video_id"] == "v0" and not 0 < line["time_s"] < 2]
    still = [line | {"time_s": line["frame_index"] * 0.7} for line in lines if line["video_id"] == "w_1"]
    (here / "gappy").mkdir()
    for video in ("v0", "w_1"):
        (here / "gappy" / video).symlink_to(here / "frames" / video)
    (here / "gappy" / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in gap + still))
    assert run(["rank", "gappy", "--top", "1", "--out", "gappy.json"]) == 0
    assert "different frames of 8, for they do not come at 15 Hz" in capfd.readouterr().err
    named = list(read_rankings(here / "gappy.json").queries)  # of which none may come twice
    assert [name for name in named if name.startswith("v0")] == ["v0_0", "v0_2"]
    assert len(named) == 2 + 26


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["frames", "--model", "models/screening"], 2, "does not rank tiles for clips"),
        (["some.json", "--model", "models/gama"], 2, "does not rank regions"),
        (["frames", "--keep", "2"], 2, "--keep: does nothing with clips without --within"),
        (["frames", "--tiles", "gallery.h5"], 2, "--tiles: does nothing with clips"),
        (["some.json", "--within", "some.json"], 2, "--within: does nothing with rankings"),
        (["some.json", "frames"], 2, "alone"),
        (["some.json", "--top", "x"], 2, "number above 0"),
        (["some.json", "--tiles", "r.h5"], 66, "no label tile"),
        (["none.json"], 66, "no such file"),
        (["frames", "--model", "models/none"], 66, "models/none"),
        (["frames", "--gallery", "r.h5"], 66, "region"),
        (["frames", "--within", "some.json", "--regions", "gallery.h5"], 66, "no label region"),
    ],
)
def test_wrong_words(here, words, code, said, capfd):
    (here / "some.json").write_text(json.dumps({"v0": [f"{X}_{Y}"]}))
    capfd.readouterr()
    assert run(["rank", *words]) == code
    out, err = capfd.readouterr()
    assert said in err.splitlines()[-1] and out == ""
