"""`vgeo sample-clips` as it is typed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import worlds

from vgeo.cli import run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    worlds.write_features(tmp_path / "a.h5", 8, labels=[{"city": "x" if i < 6 else "y"} for i in range(8)])
    worlds.write_features(tmp_path / "b.h5", {f"b{i}": 3 for i in range(9)}, labels=[{"city": "Y"}] * 9)
    return tmp_path


def test_a_list_on_stdout(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["sample-clips", "a.h5", "b.h5", "--per-city", "a.h5=3", "--sample", "b.h5=a.h5", "--out", "-"]
    assert run(words) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == "video_id,file,split,city" and len(lines) == 11
    assert lines[-6] == "clip07,a.h5,train,y" and all(line.endswith(",b.h5,train,Y") for line in lines[-5:])
    assert "a.h5: 5 of 8 training clips of 2 cities" in err and "10 clips in all" in err
    assert run([*words, "--seed", "1"]) == 0
    assert capfd.readouterr().out != out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a.h5", "--per-city", "a.h5"], 2, "--per-city a.h5: not of the form FILE=VALUE"),
        (["a.h5", "--per-city", "a.h5=0"], 2, "--per-city a.h5=0: must be a number of at least 1"),
        (["a.h5", "--per-city", "a.h5=many"], 2, "must be a number"),
        (["a.h5", "--per-city", "a.h5=2", "--per-city", "a.h5=3"], 2, "a.h5 has this rule already"),
        (["a.h5", "--sample", "a.h5=-4"], 2, "must be a number"),
        (["a.h5", "--sample", "a.h5=b.h5"], 2, "b.h5 is not another of the feature files"),
        (["a.h5", "b.h5", "--without-cities-of", "c.h5=a.h5"], 2, "c.h5: not among the feature files"),
        (["none.h5"], 66, "none.h5: no such file"),
        (["text.h5"], 65, "text.h5"),
        (["a.h5", "b.h5", "--without-cities-of", "b.h5=a.h5", "--out", "a.h5"], 73, "a.h5: exists"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_says_so_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    Path("text.h5").write_text("no HDF5")
    assert run(["-q", "sample-clips", *words]) == code
    out, err = capfd.readouterr()
    assert out == "" and said in err and len(err.splitlines()) == 1
