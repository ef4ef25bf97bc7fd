"""A video encoder through the pipeline: clips to windows to features to an answer, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clipmaker import make_video
from PIL import Image

from vgeo import device, encoders
from vgeo.cli import run
from vgeo.formats.features import FeatureFile

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers as hf

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("videomae")
    config = hf.VideoMAEConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32
    )
    hf.VideoMAEModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def precompute(weights: Path, *words: str) -> int:
    fixed = ["--weights", f"videomae={weights}", "--offline", "--precision", "fp32", "--report", "report.jsonl"]
    return run(["precompute-features", *words, "-e", "videomae", *fixed])


def read_report(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]


def test_a_folder_of_100_frames_is_seen_as_the_published_loader_sees_it(weights: Path, here: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 24, 40, 3), np.uint8)
    (here / "clip").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(here / f"clip/{number:04d}.png")
    (here / "clip/0004.png").write_bytes(b"no picture, and in no window: it is not read")
    assert precompute(weights, "clip", "--set", "videomae.frames=first76") == 0
    file = FeatureFile.open("features.h5")
    encoder = encoders.load("videomae", COMPUTE, weights=str(weights))
    window = encoder(torch.from_numpy(images[0:76:5])[None]).numpy()
    np.testing.assert_array_equal(file.features("videomae"), window.astype(np.float16))
    assert file.frame_index.tolist() == [40]
    assert [(line["frames"], line["declared_frames"]) for line in read_report(here)] == [(16, 100)]


def test_videos_give_a_row_a_window_and_are_localized_by_them(
    weights: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "clips").mkdir()
    make_video(here / "clips/long.mp4", frames=40)
    make_video(here / "clips/short.mp4", frames=5)
    (here / "track.csv").write_text("time_s,lat,lon\n0,55,13\n60,55.6,13\n")
    sampled = ["--stride", "1", "--track", "track.csv", "--max-gap-s", "100"]
    assert precompute(weights, "clips", *sampled) == 0
    file = FeatureFile.open("features.h5")
    assert file.first_row.tolist() == [0, 3, 4]
    assert file.frame_index.tolist() == [8, 24, 32, 2]
    np.testing.assert_allclose(file.latlon_deg[:, 0], 55 + 0.01 * file.time_s, atol=1e-6)
    long, short = read_report(here)
    assert (long["frames"], short["frames"]) == (40, 5) and "window" not in long["message"]
    assert short["message"].endswith("; 5 frames for a window of 16, the last repeated")
    assert "long: 40 frames in 3 windows, 3 with a position" in capfd.readouterr().err

    assert run(["build-gallery", "points", "features.h5", "--keep-features"]) == 0
    given = ["-m", "nearest", "--offline", "--no-places", "--precision", "fp32", "--out"]
    assert run(["localize", "clips/long.mp4", "--stride", "1", *given, "direct.csv"]) == 0
    direct = np.loadtxt("direct.csv", delimiter=",", skiprows=1, usecols=(1, 2, 4, 5))
    np.testing.assert_array_equal(direct[:, 0], [8, 24, 32])
    np.testing.assert_allclose(direct[:, 1], file.time_s[:3], atol=1e-6)
    np.testing.assert_allclose(direct[:, 2:], file.latlon_deg[:3], atol=1e-6)


def test_what_cannot_go_into_one_file(weights: Path, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_video(here / "clip.mp4", frames=5)
    assert precompute(weights, "clip.mp4", "-e", "gist") == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "gist (one frame a row) and videomae (16 frames a row, windows)" in error and "--out" in error
    assert not (here / "features.h5").exists()
    assert precompute(weights, "clip.mp4") == 0
    capfd.readouterr()
    assert precompute(weights, "clip.mp4", "--set", "frames=uniform") == 78
    assert "16 frames a row, windows" in capfd.readouterr().err
