"""Which pictures of which clips there are to train on, by folders, lists and data sets."""

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cityguessrmaker import HEADER, make_tree, rows, write_table
from mslsmaker import make_tree as make_msls
from PIL import Image

from vgeo.cli import run
from vgeo.datasets.base import Recipe
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.frames import format_frames
from vgeo.records import FrameRecord
from vgeo.stages.frame_sets import open_frames
from vgeo.training.data import clips_with, split
from vgeo.training.frame_set import FrameSet
from vgeo.video.sources import _read_frames


def pictures(found: FrameSet) -> dict[str, list[Path]]:
    return {
        video: [found.picture(row) for row in range(int(found.first_row[v]), int(found.first_row[v + 1]))]
        for v, video in enumerate(found.video_ids)
    }


def write_list(folder: Path, *records: FrameRecord) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "frames.jsonl").write_text(format_frames(records))


def record(video: str, number: int, **more: object) -> FrameRecord:
    about = {"path": f"{video}/{number:06d}.jpg", "time_s": float(number)} | more
    return FrameRecord(video_id=video, frame_index=number, **about)  # type: ignore[arg-type]


def test_folders_of_pictures_are_clips_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/10.jpg", "b/1.PNG", "b/notes.txt", "b/.hidden.jpg", "a/x.webp", "a/deep/y.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")  # nobody looks into them
    found = open_frames([tmp_path])
    assert pictures(found) == {
        "a": [tmp_path / "a/x.webp"],
        "deep": [tmp_path / "a/deep/y.jpg"],
        "b": [tmp_path / "b" / name for name in ("1.PNG", "2.jpg", "10.jpg")],
    }
    assert np.isnan(found.latlon_deg).all() and found.latlon_deg.shape == (5, 2)
    assert (found.path, found.labels, len(found)) == (tmp_path, {}, 5)
    assert pictures(open_frames([tmp_path / "b" / "2.jpg"])) == {"2": [tmp_path / "b" / "2.jpg"]}


def test_a_list_names_pictures_positions_and_labels_and_none_is_looked_for(tmp_path: Path) -> None:
    write_list(
        tmp_path / "frames",
        record("a", 1, lat_deg=1.0, lon_deg=2.0, labels={"city": "Lund", "split": "train"}),
        record("b", 0, path="elsewhere/x.png"),
        record("a", 0),
        record("b", 1, path="there/y.png", labels={"city": "Oslo"}),
        record("c", 0, path="z.png", labels={"country": "Peru"}),
    )
    found = open_frames([tmp_path / "frames"])
    folder = tmp_path / "frames"
    assert pictures(found) == {
        "a": [folder / "a/000000.jpg", folder / "a/000001.jpg"],
        "b": [folder / "elsewhere/x.png", folder / "there/y.png"],
        "c": [folder / "z.png"],
    }
    np.testing.assert_array_equal(found.latlon_deg, [[np.nan] * 2, [1, 2], [np.nan] * 2, [np.nan] * 2, [np.nan] * 2])
    assert _read_frames.cache_info().currsize == 0, "millions of lines are not kept"
    # The first frame in time speaks for the clip, as where clips are localized.
    assert found.labels == {"country": ["", "", "Peru"]}
    assert clips_with(found).tolist() == [True, False, False]


def test_a_table_labels_clips_over_what_they_carry(tmp_path: Path) -> None:
    write_list(
        tmp_path / "frames", *(record(video, 0, labels={"city": "Lund", "mood": "gay"}) for video in ("a", "b", "c"))
    )
    (tmp_path / "t.csv").write_text("path,city,country,split\nx/a.mp4,Oslo,Norway,val\nx/c.mp4,Lima,,\n")
    found = open_frames([tmp_path / "frames"], labels=tmp_path / "t.csv")
    assert found.labels == {
        "city": ["Oslo", "Lund", "Lima"], "mood": ["gay"] * 3, "country": ["Norway", "", ""], "split": ["val", "", ""],
    }  # fmt: skip
    for video in "ab":
        (tmp_path / "plain" / video).mkdir(parents=True)
        Image.new("RGB", (2, 2)).save(tmp_path / "plain" / video / "0.png")
    assert open_frames([tmp_path / "plain"], labels=tmp_path / "t.csv").labels["city"] == ["Oslo", ""]


def test_a_data_set_by_its_layout(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "cg")
    write_table(tmp_path / "labels.csv", HEADER, rows())
    found = open_frames([root], "cityguessr68k", labels=tmp_path / "labels.csv")
    assert len(found.video_ids) == 30 and len(found) == 29 * 20 + 10
    assert pictures(found)["ghent_3"] == sorted((root / "ghent_3").glob("*.jpg"))
    ghent = found.video_ids.index("ghent_3")
    assert {name: values[ghent] for name, values in found.labels.items() if name != "split"} == {
        "city": "Ghent", "state": "Flanders", "country": "Belgium", "continent": "Europe",
    }  # fmt: skip
    assert len({id(names) for names in found.names}) == 2, "equal names are held once"
    some = open_frames([root], "cityguessr68k", Recipe(cities=("Delhi",), labels=None), labels=tmp_path / "labels.csv")
    assert set(some.labels["city"]) == {"Delhi"}


def test_msls_by_its_layout_splits_as_features_do(tmp_path: Path) -> None:
    root = make_msls(tmp_path / "msls", jpeg=True)
    found = open_frames([root], "msls")
    assert all(path.is_file() for paths in pictures(found).values() for path in paths)
    assert np.isfinite(found.latlon_deg).all()
    parts = split([found], [], None, 0)
    assert parts.how == "label split" and parts.val is not None
    assert len(parts.train) + len(parts.val) == len(found)


def test_a_city_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    root = make_msls(tmp_path / "msls")
    broken = sorted((root / "train_val").rglob("seq_info.csv"))[-1]
    broken.write_text("nothing\n")
    with pytest.raises(FormatError, match=str(broken)):
        open_frames([root], "msls")


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        (["a.mp4", "b.mp4"], UsageError, r"a\.mp4: a video \(2 in all\).*vgeo extract-frames"),
        (["none"], InputError, "none: no such file"),
        (["empty"], InputError, "empty: no videos or images"),
        (["one", "none"], InputError, "none: no such file or folder; .*extract-frames"),
        (["one", "two"], FormatError, "1 clips are there twice, a first"),
    ],
)
def test_what_cannot_be_trained_on_is_said_in_a_line(
    tmp_path: Path, names: list[str], error: type[Exception], said: str
) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name in ("one", "two"):
        write_list(tmp_path / name, record("a", 0))
    with pytest.raises(error, match=said) as caught:
        open_frames([tmp_path / name for name in names])
    assert "\n" not in str(caught.value)


def test_what_extract_frames_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for video in "ab":
        (tmp_path / "clips" / video).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (6, 4), (i, 0, 0)).save(tmp_path / "clips" / video / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    assert run(["extract-frames", "clips"]) == 0
    found = pictures(open_frames(["frames"]))
    assert sorted(found) == ["a", "b"]
    assert all(path.is_file() for paths in found.values() for path in paths)


def test_a_picture_takes_a_few_bytes(tmp_path: Path) -> None:
    """All 6.8 million of CityGuessr68k fit. Here each video is a link to one folder."""
    root, videos = tmp_path / "cg", 1000
    (tmp_path / "hundred").mkdir()
    for i in range(100):
        (tmp_path / "hundred" / f"{i:06d}.jpg").write_bytes(b"")
    root.mkdir()
    for v in range(videos):
        (root / f"v{v}").symlink_to(tmp_path / "hundred")
    write_table(root / "labels.csv", HEADER, [(f"v{v}", f"C{v % 10}", "", "X", "Y") for v in range(videos)])
    open_frames([root], "cityguessr68k")  # loads what stays loaded, such as names of places
    tracemalloc.start()
    found = open_frames([root], "cityguessr68k")
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 100 * videos
    assert held < 25 * len(found), "16 of them its position"
