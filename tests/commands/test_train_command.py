"""`vgeo train` as it is typed: from a feature file to a model that loads, and what it says when it cannot."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import worlds

import vgeo
from vgeo.cli import run
from vgeo.formats.localizations import read_localizations

SMALL = [
    "--set", "init=scratch", "--set", "sigmas=1,1024", "--set", "fourier=8", "--set", "location_width=16",
    "--set", "location_depth=1", "--set", "embed_dim=16", "--set", "image_width=16", "--set", "batch_frames=40",
    "--set", "warmup_steps=3", "--set", "learning_rate=3e-3", "--epochs", "2", "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with features.h5, where the command is typed."""
    monkeypatch.chdir(tmp_path)
    worlds.write_features(tmp_path / "features.h5", 8)
    return tmp_path


def test_the_bare_command_trains_on_features_h5(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["train", *SMALL]) == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert "\x1b" not in said.err
    for words in (
        "training positions serve as the gallery", "encoder=gist feature_dim=8", "learning_rate=0.003",
        "held out (20% of the clips)", "contrastive 2/2  loss", "median error", "best model of contrastive epoch",
    ):  # fmt: skip
        assert words in said.err
    head = json.loads((folder / "models/geoclip/config.json").read_text())
    assert head["method"] == "geoclip"
    assert head["settings"]["learning_rate"] == 3e-3
    assert list(head["encoders"]) == ["gist"]


def test_gallery_h5_is_taken_when_it_is_there(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build-gallery", "grid", "features.h5", "--spacing-km", "0.5"]) == 0
    assert run(["train", *SMALL]) == 0
    assert "gallery gallery.h5" in capfd.readouterr().err
    from vgeo.formats.gallery import read_gallery

    kept = read_gallery(folder / "models/geoclip/gallery.h5")
    assert kept.digest == read_gallery(folder / "gallery.h5").digest


def test_what_is_measured_in_training_is_what_localize_answers(folder: Path) -> None:
    """Also when it trains in bf16: near neighbours of a fine gallery change places when they are measured in it."""
    assert run(["build-gallery", "grid", "features.h5", "--spacing-km", "0.05"]) == 0
    assert run(["train", *SMALL, "--val", "features.h5", "--precision", "bf16", "--epochs", "60"]) == 0
    last = json.loads((folder / "models/geoclip/metrics.jsonl").read_text().splitlines()[-1])
    assert run(["localize", "features.h5", "--model", "models/geoclip/last", "-g", "gallery.h5", "-o", "t.csv"]) == 0
    found = vgeo.score(vgeo.read_tracks(folder / "t.csv"), vgeo.read_tracks(folder / "features.h5"))
    assert found.frames.median_km == pytest.approx(last["validation"]["median_error_km"], rel=1e-4)


def test_a_settings_file_and_set_over_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "c.toml").write_text("learning_rate = 1e-2\nweight_decay = 1e-4\n")
    assert run(["train", *SMALL, "--config", "c.toml", "-v"]) == 0
    settings = json.loads((folder / "models/geoclip/config.json").read_text())["settings"]
    assert settings["learning_rate"] == 3e-3
    assert settings["weight_decay"] == 1e-4
    assert "all settings: init=scratch" in capfd.readouterr().err


def test_precision_is_chosen(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["train", *SMALL, "--precision", "fp32"]) == 0
    assert "fp32" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--method", "cityguesr"], 2, "no method 'cityguesr'; there are cityguessr, gama, geoclip"),
        (["--method", "nearest"], 2, "nothing to train"),
        (["--set", "learning_rat=1"], 78, "did you mean learning_rate?"),
        (["--set", "epochs=many"], 78, "epochs expects integer"),
        (["--set", "encoder=clip"], 66, "no features of clip"),
        (["--set", "feature_dim=9"], 78, "gist 8 wide"),
        (["--config", "none.toml"], 66, "none.toml: no such file"),
        (["none.h5"], 66, "none.h5: no such file; make it with 'vgeo precompute-features'"),
        (["--gallery", "none.csv"], 66, "none.csv: no such file"),
        (["--resume"], 66, "nothing to resume"),
        (["--resume", "--overwrite"], 2, "give one of them"),
        (["--out", "features.h5"], 73, "is a file"),
        (["--epochs", "0"], 2, "--epochs"),
        (["--precision", "fp8"], 78, "fp8"),
        (["--device", "meta"], 78, "no such device here"),
        (["--device", "mps"], 78, "--device"),
        (["--seed", "-1"], 2, "--seed"),
        (["--seed", str(2**63)], 2, "--seed"),
        (["--val", "features.h5", "--val-fraction", "0.5"], 2, "give one of them"),
        (["--at", "town"], 2, "'own', 'city', 'either'"),
        (["--at", "city"], 66, "make one with 'vgeo build-gallery cities'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert run(["train", *SMALL, *words]) == code
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("vgeo: ")
    assert said in last
    assert sorted(path.name for path in folder.iterdir()) == before, "nothing is made"


def test_towards_city_centres(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Clips without positions, known by their city alone, from features to the city that is voted for."""
    labels = [{"city": name} for name in ("Lisbon", "Singapore", "Atlantis")]
    worlds.write_features(folder / "known.h5", {f"c{n}": 5 for n in range(12)}, labels=labels * 4, unknown=1.1)
    (folder / "places.csv").write_text("city\nLisbon\nSingapore\n")
    assert run(["build-gallery", "cities", "places.csv"]) == 0
    assert run(["train", "known.h5", *SMALL, "--at", "city", "--val-fraction", "0.3"]) == 0
    said = capfd.readouterr().err
    assert "4 clips have no city in the gallery and are left out: Atlantis (4)" in said and "of 6 clips" in said
    assert "median error" in said
    assert run(["localize", "known.h5", "--out", "t.geojson"]) == 0
    votes = [said.votes for said in read_localizations("t.geojson")]
    assert {vote.labels.city for vote in votes if vote} <= {"Lisbon", "Singapore"} and None not in votes
    assert run(["train", "known.h5", *SMALL, "--at", "city", "--gallery", "known.h5", "--overwrite"]) == 65
    assert run(["train", *SMALL, "--at", "city", "--overwrite"]) == 65
    assert "carry no label 'city'" in capfd.readouterr().err


def test_features_without_positions(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    worlds.write_features(folder / "blind.h5", 3, unknown=1.1)
    assert run(["train", "blind.h5", *SMALL]) == 65
    assert "no frame of these has a position to learn from; give tracks" in capfd.readouterr().err


def test_methods_are_completed() -> None:
    from vgeo.commands.options import complete_methods

    assert complete_methods("geo") == ["geoclip"]
