"""`vgeo score-trajectory` as typed: stdout, exit codes, pipes and terminals."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from vgeo.cli import run

PREDICTED = {
    "type": "Feature",
    "geometry": {"type": "LineString", "coordinates": [[2, 48], [2.01, 48]]},
    "properties": {"video_id": "clip", "relativeTimes": [0, 1]},
}
VGEO = [sys.executable, "-m", "vgeo"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Predictions in GeoJSON; truth in a folder of GPX."""
    (tmp_path / "pred.geojson").write_text(json.dumps(PREDICTED))
    (tmp_path / "tracks").mkdir()
    points = "".join(
        f'<trkpt lat="48" lon="{lon}"><time>2020-01-01T00:00:0{i}Z</time></trkpt>' for i, lon in enumerate((2, 2.02))
    )
    for name in ("clip", "other"):
        (tmp_path / f"tracks/{name}.gpx").write_text(f'<gpx version="1.1"><trk><trkseg>{points}</trkseg></trk></gpx>')
    return str(tmp_path / "pred.geojson"), str(tmp_path / "tracks")


def test_json_on_a_pipe(files: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    predictions, truth = files
    assert run(["score-trajectory", predictions, "--truth", truth]) == 0
    report = json.loads(capfd.readouterr().out)
    summary = ["count", "within_0.5_km", "within_1_km", "within_5_km", "within_25_km"]
    summary += ["median_error_km", "mean_error_km", "p95_error_km"]
    assert list(report["frame"]) == list(report["video"]) == summary
    assert list(report) == [
        "frame",
        "video",
        *(
            f"{metric}_{unit}_{how}"
            for metric in ("dfd", "mrd")
            for unit in ("deg", "km")
            for how in ("mean", "median")
        ),
        "matched_clips",
        "unmatched_predicted_clips",
        "unmatched_true_clips",
        "matched_frames",
        "unmatched_predicted_frames",
        "unmatched_true_frames",
    ]
    assert report["frame"]["within_0.5_km"] == 50 and report["frame"]["within_1_km"] == 100
    assert report["dfd_deg_mean"] == pytest.approx(0.01) and report["mrd_deg_mean"] == pytest.approx(0.005)
    assert (report["matched_clips"], report["unmatched_true_clips"]) == (1, 1)


def test_per_clip_and_thresholds(files: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    args = [
        "score-trajectory",
        files[0],
        "--truth",
        files[1],
        "--per-clip",
        "--within-km",
        "0.25",
        "--within-km",
        "1e3",
    ]
    assert run(args) == 0
    report = json.loads(capfd.readouterr().out)
    assert [key for key in report["frame"] if key.startswith("within")] == ["within_0.25_km", "within_1000_km"]
    (clip,) = report["per_clip"]
    assert clip["video_id"] == "clip" and clip["matched_by"] == "time" and clip["frames"] == 2


def test_markdown_latex_and_csv(files: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["score-trajectory", files[0], "--truth", files[1], "--format", "md"]) == 0
    markdown = capfd.readouterr().out
    assert "| frames | 2 | 50.0 % | 100.0 % | 100.0 % | 100.0 % |" in markdown
    assert run(["score-trajectory", files[0], "--truth", files[1], "--format", "latex"]) == 0
    comment, row = capfd.readouterr().out.splitlines()
    cells = row.removesuffix(r" \\").split(" & ")
    # name; frames at 0.5, 1, 5, 25 km and median; videos likewise; DFD; MRD
    assert cells == ["pred", "50.0", "100.0", "100.0", "100.0", "0.37", *cells[6:11], "0.01", "0.01"]
    assert len(cells) == len(comment.split(" & ")) == 13
    assert run(["score-trajectory", files[0], "--truth", files[1], "--format", "csv"]) == 0
    (line,) = csv.DictReader(io.StringIO(capfd.readouterr().out))
    assert float(line["frame_within_0.5_km"]) == 50 and line["matched_clips"] == "1" and line["name"] == "pred"


def test_a_file_is_written_once_and_its_suffix_is_heard(files: tuple[str, str], tmp_path: Path) -> None:
    args = ["score-trajectory", files[0], "--truth", files[1], "--out"]
    assert run([*args, str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["matched_clips"] == 1
    assert run([*args, str(tmp_path / "s.json")]) == 73
    assert run([*args, str(tmp_path / "s.json"), "--overwrite"]) == 0
    assert run([*args, str(tmp_path / "s.tex")]) == 0
    assert (tmp_path / "s.tex").read_text().endswith("\\\\\n")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["nope.geojson", "--truth", "{truth}"], 66, "nope.geojson: no such file"),
        (["{pred}", "--truth", "nope.gpx"], 66, "nope.gpx: no such file"),
        (["{bad}", "--truth", "{truth}"], 65, "not JSON"),
        (["{pred}"], 2, "--truth"),
        (["{pred}", "--truth", "{truth}", "--format", "xml"], 2, "xml"),
        (["{pred}", "--truth", "{truth}", "--match", "clock"], 2, "cannot be matched by clock"),
        (["{pred}", "--truth", "{truth}", "--within-km", "0"], 2, "above 0"),
        (["-", "--truth", "-"], 2, "cannot both be stdin"),
        (["{other}", "--truth", "{truth}"], 66, "no clip is in both"),
    ],
)
def test_exit_codes(
    files: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], args: list[str], code: int, message: str
) -> None:
    (tmp_path / "bad.geojson").write_text('{"type": "Feat')
    (tmp_path / "other.geojson").write_text(json.dumps(PREDICTED).replace('"clip"', '"elsewhere"'))
    paths = {"pred": files[0], "truth": files[1], "bad": tmp_path / "bad.geojson", "other": tmp_path / "other.geojson"}
    assert run(["score-trajectory", *(arg.format(**paths) for arg in args)]) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert message in said.err and said.err.count("\n") == 1 and "Traceback" not in said.err


def test_a_pipe_is_a_file(files: tuple[str, str]) -> None:
    args = [*VGEO, "score-trajectory", "-", "--truth", files[1]]
    piped = subprocess.run(args, input=Path(files[0]).read_bytes(), capture_output=True, check=True)
    args[args.index("-")] = files[0]
    named = subprocess.run(args, capture_output=True, check=True)
    assert piped.stdout == named.stdout != b"" and b"\x1b" not in piped.stdout + piped.stderr


def test_a_table_on_a_terminal(files: tuple[str, str]) -> None:
    leader, follower = pty.openpty()
    args = [*VGEO, "score-trajectory", files[0], "--truth", files[1]]
    subprocess.run(args, stdout=follower, stderr=subprocess.DEVNULL, check=True)
    os.close(follower)
    shown = os.read(leader, 65_536).decode()
    os.close(leader)
    assert "within 0.5 km" in shown and "discrete Fréchet distance" in shown and "{" not in shown


def test_neither_torch_nor_h5py_is_loaded(files: tuple[str, str]) -> None:
    code = (
        "import sys; from vgeo.cli import run; assert run(sys.argv[1:]) == 0;"
        "assert not {'torch', 'h5py', 'av', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    )
    args = [sys.executable, "-c", code, "score-trajectory", files[0], "--truth", files[1]]
    subprocess.run(args, stdout=subprocess.DEVNULL, check=True)
