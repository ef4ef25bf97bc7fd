"""The folder of frames: complete or not there, made with one kind of settings, filled by one process or several."""

from pathlib import Path

import numpy as np
import pytest

from vgeo.errors import BusyError, OutputError, SettingError
from vgeo.formats.frame_folder import FrameFolder, fingerprint
from vgeo.formats.frames import read_frames
from vgeo.records import FrameRecord

IMAGE = np.full((8, 8, 3), 127, np.uint8)
SETTINGS = {"sampling": "rate_hz=1", "size": 224}


def fill(folder: FrameFolder, video_id: str, frames: int = 2, made_from: list | None = None) -> None:
    with folder.video(video_id) as video:
        for index in range(frames):
            video.add(IMAGE, FrameRecord(video_id=video_id, frame_index=index, time_s=index, path=""), 90)
        video.finish(made_from or [["a.mp4", 1, 2]], {})


def test_frames_are_joined_in_natural_order(tmp_path: Path) -> None:
    with FrameFolder(tmp_path / "out", SETTINGS) as folder:
        for name in ("clip10", "clip2"):
            fill(folder, name)
    records = read_frames(tmp_path / "out")
    assert [record.path for record in records] == [f"{v}/00000{i}.jpg" for v in ("clip2", "clip10") for i in (0, 1)]
    assert all((tmp_path / "out" / record.path).is_file() for record in records)


@pytest.mark.parametrize(
    "video_id", ["../../evil", "/tmp/evil", "a/b", ".", "..", "", ".git", "\N{HIRAGANA LETTER A}" * 85]
)
def test_ids_of_strangers_stay_in_the_folder(video_id: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with FrameFolder(out, SETTINGS) as folder:
        fill(folder, video_id)
        before = folder.finished(video_id, [["a.mp4", 1, 2]])
        assert before is not None and [record.video_id for record in before.records] == [video_id] * 2
    (first, _) = read_frames(out)
    assert first.video_id == video_id and (out / first.path).is_file()
    assert (out / first.path).parent.resolve().parent == out.resolve()
    assert [entry.name for entry in tmp_path.iterdir()] == ["deep"]


def test_unfinished_videos_leave_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with FrameFolder(out, SETTINGS) as folder:
        fill(folder, "done")
        with pytest.raises(RuntimeError), folder.video("broken") as video:
            video.add(IMAGE, FrameRecord(video_id="broken", frame_index=0, time_s=0, path=""), 90)
            raise RuntimeError
    assert {record.video_id for record in read_frames(out)} == {"done"}
    assert sorted(entry.name for entry in out.iterdir()) == ["done", "frames.jsonl", "settings.json"]


def test_a_folder_without_videos_vanishes(tmp_path: Path) -> None:
    with FrameFolder(tmp_path / "out", SETTINGS):
        pass
    assert not (tmp_path / "out").exists()


def test_finished_videos_are_known_by_what_they_were_made_from(tmp_path: Path) -> None:
    with FrameFolder(tmp_path, SETTINGS) as folder:
        fill(folder, "a", made_from=[["a.mp4", 10, 20]])
        before = folder.finished("a", [["a.mp4", 10, 20]])
        assert before is not None and len(before.records) == 2
        assert folder.finished("a", [["a.mp4", 11, 20]]) is None
        assert folder.finished("b", [["a.mp4", 10, 20]]) is None
        (tmp_path / "a" / "clip.json").write_text("{")
        assert folder.finished("a", [["a.mp4", 10, 20]]) is None


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    with FrameFolder(tmp_path, SETTINGS) as folder:
        fill(folder, "a")
        fill(folder, "b")
    with pytest.raises(SettingError, match=r"size 224 \(now 336\)") as caught:
        FrameFolder(tmp_path, {**SETTINGS, "size": 336})
    assert "sampling" not in str(caught.value)
    with FrameFolder(tmp_path, {**SETTINGS, "size": 336}, overwrite=True) as folder:
        fill(folder, "a", 3)
    assert [record.video_id for record in read_frames(tmp_path)] == ["a"] * 3, "nothing of the old settings is left"


def test_several_fill_it_with_the_same_settings_only(tmp_path: Path) -> None:
    with FrameFolder(tmp_path, SETTINGS) as first, FrameFolder(tmp_path, SETTINGS) as second:
        fill(first, "a")
        half = second.video("b")
        half.__enter__()
        with pytest.raises(SettingError, match=r"size 224 \(now 336\)"):
            FrameFolder(tmp_path, {**SETTINGS, "size": 336})
        with pytest.raises(BusyError, match="other processes fill it, not with --overwrite"):
            FrameFolder(tmp_path, SETTINGS, overwrite=True)
        with FrameFolder(tmp_path, SETTINGS):
            pass
        assert (tmp_path / ".b.partial").is_dir(), "what others are writing is left alone"
        half.__exit__()
        fill(second, "b")
    assert [record.video_id for record in read_frames(tmp_path)] == ["a", "a", "b", "b"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b", "frames.jsonl", "settings.json"]


def test_strangers_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").write_text("years of work")
    with FrameFolder(tmp_path, SETTINGS, overwrite=True) as folder, pytest.raises(OutputError, match="not made by"):
        folder.video("a")
    assert (tmp_path / "a" / "thesis.txt").exists()
    (tmp_path / "frames.jsonl").write_text("{}\n")
    with pytest.raises(OutputError, match=r"frames\.jsonl"):
        FrameFolder(tmp_path, SETTINGS)


def test_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1")
    before = fingerprint([path, tmp_path / "none"])
    path.write_bytes(b"12")
    assert len(before) == 1 and fingerprint([path]) != before
