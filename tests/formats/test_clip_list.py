"""Lists of clips: files are named from the list, texts come back as they were."""

from pathlib import Path

import pytest

from vgeo.errors import FormatError, InputError
from vgeo.formats.clip_list import ListedClip, read_clip_list, write_clip_list


def test_a_list_comes_back(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    clips = [
        ListedClip(video_id='a, "b"\n=c', file=tmp_path / "x/features.h5", split="train", city="São Paulo"),
        ListedClip(video_id="=1+1", file=tmp_path / "lists/y.h5", split="train"),
    ]
    path = tmp_path / "lists/clips.csv"
    write_clip_list(path, clips)
    assert read_clip_list(path) == clips
    text = path.read_text()
    assert "../x/features.h5" in text and "'=1+1,y.h5" in text


def test_a_list_by_hand_needs_ids_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("\ufeffVideo_ID\na\n\nb\n")
    assert read_clip_list(path) == [ListedClip(video_id="a"), ListedClip(video_id="b")]
    path.write_text("clip\na\n")
    with pytest.raises(FormatError, match="no column video_id"):
        read_clip_list(path)
    path.write_text("file,video_id\nx.h5\n")
    with pytest.raises(FormatError, match="line 2"):
        read_clip_list(path)
    with pytest.raises(InputError, match="no such file"):
        read_clip_list(tmp_path / "none.csv")
