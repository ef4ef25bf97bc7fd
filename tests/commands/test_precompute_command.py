"""`vgeo precompute-features` as it is typed."""

import shutil
from pathlib import Path

import pytest

from vgeo.cli import run
from vgeo.formats.features import FeatureFile


@pytest.fixture
def folder(shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "clips").mkdir()
    shutil.copy(shared_dir / "data/gopro-gps-videos/hero5-trimmed.mp4", tmp_path / "clips")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_bare_command_reads_clips_then_frames(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["precompute-features"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "encoder gist, which needs no weights" in err and "3 frames, 3 with a position" in err
    assert FeatureFile.open("features.h5").sources == ["clips/hero5-trimmed.mp4"]
    assert run(["extract-frames", "-q"]) == 0
    assert run(["precompute-features", "--overwrite"]) == 0
    assert FeatureFile.open("features.h5").sources == ["frames/frames.jsonl"]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--rate-hz", "1", "--count", "3"], 2, "give one of them"),
        (["-e", "gits"], 2, "no encoder 'gits'"),
        (["-e", "clip", "--offline"], 69, "--weights clip="),
        (["-e", "torchvision:squeezenet1_0", "--weights", "none.pth"], 66, "none.pth: no such file"),
        (["--out", "-"], 2, "HDF5 cannot be written to a stream"),
        (["nothing.mp4"], 66, "no such file"),
        (["--device", "tpu9"], 78, "not a device"),
    ],
)
def test_mistakes(folder: Path, capfd: pytest.CaptureFixture[str], args: list[str], code: int, words: str) -> None:
    assert run(["precompute-features", *args]) == code
    out, err = capfd.readouterr()
    assert out == "" and words in err and "Traceback" not in err
    assert not (folder / "features.h5").exists() and not (folder / "features.h5.parts").exists()


def test_other_settings_are_refused_and_overwrite_makes_anew(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["precompute-features"]) == 0
    assert run(["precompute-features", "--rate-hz", "4"]) == 78
    assert "now rate_hz=4; use --overwrite" in capfd.readouterr().err
    assert run(["precompute-features", "--rate-hz", "4", "--overwrite"]) == 0
    assert len(FeatureFile.open("features.h5")) > 3
