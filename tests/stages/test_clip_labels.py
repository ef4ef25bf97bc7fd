"""Labels of a table on the clips that it means."""

from pathlib import Path

import pytest
from PIL import Image

from vgeo.cli import run
from vgeo.errors import FormatError, InputError
from vgeo.formats.features import FeatureFile
from vgeo.stages.clip_labels import join_ids, label_clips, label_columns
from vgeo.video.clips import Clip


@pytest.mark.parametrize(
    ("said", "truth", "pairs"),
    [
        (["a", "b"], ["b", "c"], [("b", "b")]),
        (["c"], ["a/b/c.mp4"], [("c", "a/b/c.mp4")]),
        (["b_c", "d_c"], ["a/b/c.mp4", "a/d/c.mp4"], [("b_c", "a/b/c.mp4"), ("d_c", "a/d/c.mp4")]),
        (["c"], ["a/b/c.mp4", "a/d/c.mp4"], []),  # which?
        (["x/c.mp4", "y/c.mp4"], ["c"], []),
        (["c", "c.mov"], ["c", "c.mp4"], [("c", "c"), ("c.mov", "c.mp4")]),
        ([], ["a"], []),
    ],
)
def test_ids_and_paths(said: list[str], truth: list[str], pairs: list[tuple[str, str]]) -> None:
    assert join_ids(said, truth) == pairs


def clips(*names: str) -> list[Clip]:
    return [Clip(name, Path(f"{name}.mp4"), "video") for name in names]


def test_rows_find_their_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_text(
        "path,city,country,Split,lat,lon,mood\nx/a.mp4,Lund,Sweden,val,,,gay\nx/c.mp4,Lima,,,,,\n"
    )
    labelled = label_clips(clips("a", "b", "c"), tmp_path / "t.csv")
    assert [clip.labels for clip in labelled] == [
        {"city": "Lund", "country": "Sweden", "split": "val"}, {}, {"city": "Lima"}
    ]  # fmt: skip
    assert "does not name 1 of 3 clips, b first" in caplog.text


def test_what_a_table_says_of_a_city_takes_nothing_from_another(tmp_path: Path) -> None:
    """Lima is not in Skåne; what the table does not speak of stays."""
    (tmp_path / "t.csv").write_text("video_id,city,country,split\na,Lima,Peru,\nb,,,val\n")
    own = {"city": ["Lund", "Lund"], "state": ["Skåne", "Skåne"], "country": ["Sweden", "Sweden"], "mood": ["", "gay"]}
    assert label_columns(["a", "b"], own, tmp_path / "t.csv") == {
        "city": ["Lima", "Lund"], "state": ["", "Skåne"], "country": ["Peru", "Sweden"], "mood": ["", "gay"],
        "split": ["", "val"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("path,city\nz.mp4,Lund\n", InputError, r"none of the clips \(a first\), but z.mp4 first"),
        ("path,city\na,Lund\na,Lima\n", FormatError, "different things of clip a"),
        ("city\nLund\n", FormatError, "names no clip"),
        ("path,city\n", InputError, "only a header"),
    ],
)
def test_tables_that_do_not_serve(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(error, match=says):
        label_clips(clips("a"), tmp_path / "t.csv")


def test_features_carry_them_and_follow_their_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        Image.new("RGB", (64, 48), (90, 120, 30)).save(tmp_path / "clips" / name / "0.jpg")

    def go(cities: str) -> tuple[dict[str, list[str]], list[str]]:
        (tmp_path / "t.csv").write_text(f"video_id,city\n{cities}\n")
        assert run(["precompute-features", "clips", "--labels", "t.csv", "--report", "r.jsonl", "--device", "cpu"]) == 0
        said = (tmp_path / "r.jsonl").read_text().splitlines()
        (tmp_path / "r.jsonl").unlink()
        return FeatureFile.open("features.h5").labels, ["skipped" in line for line in said]

    assert go("a,Lund\nb,Lima") == ({"city": ["Lund", "Lima"]}, [False, False])
    assert go("a,Lund\nb,Lima") == ({"city": ["Lund", "Lima"]}, [True, True])
    assert go("a,Lund\nb,Cusco") == ({"city": ["Lund", "Cusco"]}, [True, False])
    capfd.readouterr()
    assert run(["precompute-features", "clips", "--labels", "nowhere.csv"]) == 66
    assert "nowhere.csv" in capfd.readouterr().err
