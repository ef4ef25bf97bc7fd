"""What becomes a clip, in which order and under which name."""

import errno
import io
import os
from pathlib import Path

import pytest

from vgeo.errors import InputError
from vgeo.video.finding import find_clips, natural_key


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(*inputs: object) -> list[str]:
    return [clip.video_id for clip in find_clips([str(item) for item in inputs])]


def test_folders_are_walked_in_natural_order(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "walk10.mp4",
        "walk2.MP4",
        "Walk1.mkv",
        "notes.pdf",
        ".hidden.mp4",
        "._walk2.mp4",
        "sub/x.avi",
        ".d/y.mp4",
    )
    assert ids(tmp_path) == ["Walk1", "walk2", "walk10", "x"]
    assert sorted(["f10", "f9", "F1"], key=natural_key) == ["F1", "f9", "f10"]


def test_folders_of_pictures_are_clips(tmp_path: Path) -> None:
    touch(tmp_path, "lund/1.jpg", "lund/2.JPEG", "videos/a.mp4", "videos/thumbnail.jpg")
    clips = find_clips([tmp_path])
    assert [(clip.video_id, clip.kind) for clip in clips] == [("lund", "images"), ("a", "video")]


def test_named_files_are_taken_whatever_they_are_called(tmp_path: Path) -> None:
    touch(tmp_path, "recording.bin", "picture.jpg")
    kinds = [clip.kind for clip in find_clips([tmp_path / "recording.bin", tmp_path / "picture.jpg"])]
    assert kinds == ["video", "images"]


def test_same_names_get_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "paris/a.mp4", "lyon/a.mp4", "lyon/b.mp4", "lyon/c.mp4", "lyon/c.mkv")
    found = ids(tmp_path)
    assert len(set(found)) == 5
    assert "paris_a" in found and "lyon_a" in found and "b" in found
    assert ids(tmp_path / "paris/a.mp4", tmp_path / "paris/a.mp4") == ["a"], "named twice is one clip"


@pytest.mark.parametrize("name", ["...mp4", "a\nb.mp4", "..mp4", "\udcff.mp4"])
def test_ids_can_name_folders_anywhere(name: str) -> None:
    (clip,) = [c for c in find_clips([name, "."]) if c.path == Path(name)] if Path(".").is_dir() else [None]
    assert clip is not None
    assert clip.video_id not in ("", ".", "..") and not clip.video_id.startswith(".")
    assert clip.video_id.encode() and all(ord(letter) >= 32 for letter in clip.video_id)


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    listing = tmp_path / "list.txt"
    listing.write_text("# two clips\na.mp4\n\n" + str(tmp_path / "b.mp4") + "\n")
    assert ids(listing) == ["a", "b"], "relative to the list"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{tmp_path}/b.mp4\n{tmp_path}/a.mp4\n"))
    assert ids("-") == ["b", "a"]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    touch(tmp_path, "deep/a.mp4")
    (tmp_path / "deep" / "back").symlink_to(tmp_path)
    assert ids(tmp_path) == ["a"]


def test_results_inside_the_input_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "frames/a/000000.jpg", "b/c.mp4")
    assert [clip.video_id for clip in find_clips([tmp_path], leave_out=tmp_path / "frames")] == ["a", "c"]
    assert [clip.video_id for clip in find_clips([tmp_path])] != ["a", "c"]


def test_what_may_not_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.mp4", "closed/b.mp4")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as closed:
        closed.setattr("os.scandir", refuse)  # root may read everything
        assert ids(tmp_path) == ["a"]
        assert "closed: left out, cannot be read (permission denied)" in caplog.text
        closed.setattr("pathlib.Path.is_dir", lambda path: refuse(path) is not None)
        with pytest.raises(InputError, match=r"closed: cannot be read \(permission denied\)"):
            find_clips([tmp_path / "closed"])


def test_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no videos or images"):
        find_clips([tmp_path])
    with pytest.raises(InputError, match="no such file or folder"):
        find_clips([tmp_path / "none"])
    touch(tmp_path, "a.mp4")
    assert ids(tmp_path / "a.mp4", tmp_path / "none.mp4") == ["a", "none"], "one of several is for the batch to report"
