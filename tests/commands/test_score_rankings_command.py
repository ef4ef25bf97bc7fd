"""`vgeo score-rankings` as typed: what it prints and refuses, and what it leaves alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vgeo.cli import run

TRACK = "video_id,time_s,lat,lon\nv,0,40.7,-74\nv,1,40.7002,-74\nv,2,40.8,-74\n"
RANKINGS = {"v_0": ["v_1", "v_0"], "v_1": ["v_2", "v_0"], "v_2": ["v_2", "v_1"]}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "track.csv").write_text(TRACK)
    (tmp_path / "clips.json").write_text(json.dumps(RANKINGS))
    return tmp_path


def test_json_in_a_pipe(capfd):
    assert run(["score-rankings", "clips.json", "--truth", "track.csv", "--gallery-size", "3"]) == 0
    out, err = capfd.readouterr()
    said = json.loads(out)
    assert err == "" and said["queries"] == 3 and said["rule"] == "cn" and said["gallery"] == 3
    assert said["recall_at_1"] == pytest.approx(200 / 3)  # v_1 is 22 m from v_0
    assert said["recall_at_5"] is None and said["recall_at_1%"] is None
    assert said["top1_mean_error_km"] == pytest.approx(said["top1_mean_error_mi"] * 1.609344)
    assert said["top1_measured"] == 3


def test_another_rule_and_other_thresholds(capfd):
    args = ["--rule", "ucn", "--at", "2", "--within-miles", "0.3"]
    assert run(["score-rankings", "clips.json", "--truth", "track.csv", *args]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["recall_at_2"] == 0 and said["top1_within_0.3_mi"] is None and said["top1_mean_error_mi"] is None


def test_a_folder_of_frames_is_the_truth(here, capfd):
    (here / "frames").mkdir()
    rows = [{"video_id": "v", "frame_index": s, "time_s": s, "path": "x.jpg", "lat_deg": 40.7, "lon_deg": -74 + s / 10}
            for s in range(3)]  # fmt: skip
    (here / "frames" / "frames.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (here / "frames" / "settings.json").write_text("{}")
    assert run(["score-rankings", "clips.json", "--truth", "frames/"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["recall_at_1"] == pytest.approx(100 / 3) and err == ""


def test_a_table_and_a_row_of_latex(capfd):
    assert run(["score-rankings", "clips.json", "--truth", "track.csv", "--format", "table"]) == 0
    out = capfd.readouterr().out
    assert "R@1%" in out and "66.7 %" in out and "top-1@0.1 mi" in out and "unmatched truth" in out
    assert run(["score-rankings", "clips.json", "--truth", "track.csv", "--out", "row.tex"]) == 0
    assert Path("row.tex").read_text().splitlines()[1].startswith(r"clips & 66.7 & - & - & - & - & 66.7")


@pytest.mark.parametrize(
    "args, code, said",
    [
        (["none.json", "--truth", "track.csv"], 66, "none.json: no such file"),
        (["clips.json", "--truth", "none.csv"], 66, "none.csv"),
        (["track.csv", "--truth", "track.csv"], 65, "not a JSON object"),
        (["clips.json", "--truth", "track.csv", "--at", "x"], 2, "number above 0"),
        (["clips.json", "--truth", "track.csv", "--rule", "regions"], 66, "nothing is known"),
        (["clips.json", "--truth", "track.csv", "--gallery", "g.h5", "--gallery-size", "3"], 2, "leave --gallery-size"),
        (["-", "--truth", "-"], 2, "cannot both be stdin"),
        (["clips.json"], 2, "--truth"),
        (["clips.json", "--truth", "track.csv", "--out", "track.csv"], 73, "exists"),
    ],
)
def test_refused_in_one_line(args, code, said, capfd):
    assert run(["score-rankings", *args]) == code
    out, err = capfd.readouterr()
    assert out == "" and said in err and len(err.splitlines()) == 1


def test_neither_torch_nor_a_video_library_is_loaded():
    code = (
        "import sys; from vgeo.cli import run; assert run(sys.argv[1:]) == 0;"
        "print({'torch', 'av', 'transformers'} & set(sys.modules), file=sys.stderr)"
    )
    args = ["score-rankings", "-", "--truth", "track.csv"]
    done = subprocess.run(
        [sys.executable, "-c", code, *args], input=json.dumps(RANKINGS), capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().endswith("set()")
    assert json.loads(done.stdout)["queries"] == 3
