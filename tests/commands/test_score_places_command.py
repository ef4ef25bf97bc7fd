"""`vgeo score-places` as typed: what it prints, draws and refuses."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from vgeo.cli import run

SAID = """video_id,city,state,country,continent
a,Lisbon,,Portugal,Europe
b,Paris,,France,Europe
c,Lima,,Peru,South America
z,X,,,
"""
TRUE = """path,city,country,continent
clips/a.mp4,LISBON,PRT,Europe
clips/b.mp4,Lisbon,Portugal,Europe
clips/c.mp4,Lima,Peru,South America
clips/y.mp4,Lima,Peru,
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "said.csv").write_text(SAID)
    (tmp_path / "true.csv").write_text(TRUE)
    return tmp_path


def test_json_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["score-places", "said.csv", "--truth", "true.csv"]) == 0
    out, err = capfd.readouterr()
    said = json.loads(out)
    assert err == "" and said["matched_clips"] == 3
    assert said["city"] == {"count": 3, "top1_percent": pytest.approx(200 / 3), "top5_percent": None}
    assert said["country"]["top1_percent"] == pytest.approx(200 / 3) and said["continent"]["top1_percent"] == 100
    assert "state" not in said
    assert said["cities"][0] == {
        "city": "LISBON", "country": "PRT", "continent": "Europe", "count": 2, "correct": 1, "top1_percent": 50.0,
        "mistaken_for": [{"city": "Paris", "country": "France", "continent": "Europe", "count": 1}],
    }  # fmt: skip
    assert said["unmatched_predicted_clips"] == ["z"] and said["unmatched_true_clips"] == ["clips/y.mp4"]


def test_predictions_from_stdin(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(SAID.encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert run(["score-places", "-", "--truth", "true.csv"]) == 0
    assert json.loads(capfd.readouterr().out)["matched_clips"] == 3


def test_table_and_latex(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["score-places", "said.csv", "--truth", "true.csv", "--format", "table"]) == 0
    out = capfd.readouterr().out
    assert "66.7 %" in out and "Paris (1)" in out and "predicted only" in out and "\x1b" not in out
    assert run(["score-places", "said.csv", "--truth", "true.csv", "-o", "row.tex"]) == 0
    head, row = (here / "row.tex").read_text().splitlines()
    assert (head, row) == ("% name & city & state & country & continent", r"said & 66.7 & - & 66.7 & 100.0 \\")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture(suffix: str, here: Path) -> None:
    command = ["score-places", "said.csv", "--truth", "true.csv", "--confusion", f"c.{suffix}", "-o", "s.json"]
    assert run(command) == 0
    if suffix == "png":
        with Image.open(here / "c.png") as image:
            assert image.width > 400 and len(image.convert("RGB").getcolors(2**24)) > 20
    assert run(command) == 73
    assert run([*command, "--overwrite"]) == 0


def test_names_from_strangers(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither formulas for the picture nor escape codes for the terminal."""
    table = "video_id,city\na,$\\frac{1$\nb,x\x1b[31m\nc," + "long " * 50 + "\n"
    for name in ("said.csv", "true.csv"):
        (here / name).write_text(table)
    assert run(["score-places", "said.csv", "--truth", "true.csv", "--confusion", "c.png", "-f", "table"]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out and "100.0 %" in out and (here / "c.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["said.csv"], 2, "--truth"),
        (["-", "--truth", "-"], 2, "cannot both be stdin"),
        (["said.csv", "--truth", "nowhere.csv"], 66, "nowhere.csv"),
        (["nowhere.csv", "--truth", "true.csv"], 66, "nowhere.csv"),
        (["track.csv", "--truth", "true.csv"], 66, "build-gallery cities"),
        (["said.csv", "--truth", "track.csv"], 65, "no column city"),
        (["said.csv", "--truth", "bare.csv"], 65, "video_id or path"),
        (["said.csv", "--truth", "others.csv"], 66, "no clip is in both"),
        (["said.csv", "--truth", "true.csv", "--confusion", "c.txt"], 2, ".png"),
        (["said.csv", "--truth", "true.csv", "--confusion", "-"], 2, ".png"),
        (["said.csv", "--truth", "true.csv", "--out", "true.csv"], 73, "--overwrite"),
    ],
)
def test_mistakes_end_with_the_next_step(
    words: list[str], code: int, says: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "track.csv").write_text("video_id,lat,lon\na,1,2\n")
    (here / "bare.csv").write_text("city\nLima\n")
    (here / "others.csv").write_text("video_id,city\nq,Lima\n")
    assert run(["score-places", *words]) == code
    out, err = capfd.readouterr()
    assert out == "" and says in err and err.count("\n") == 1
    assert not (here / "c.txt").exists()
