"""GAMa's published lists: every form, and every way in which a line can be wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vgeo.errors import FormatError, InputError
from vgeo.formats.gama_lists import (
    clip_id,
    kind_of,
    read_clips,
    read_pictures,
    read_tiles,
    read_videos,
    tile_of_name,
)

TILE = "154446_197146"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        path = tmp_path / "a.list"
        path.write_text(text)
        return path

    return written


Write = Callable[[str], Path]


def test_videos_with_and_without_frames(write: Write) -> None:
    path = write("0000f77c-6257be58 1203\r\n\n0001-b 600 \n0000f77c-6257be58 1203\n")
    assert kind_of(path) == "videos"
    listed = read_videos(path)
    assert listed.frames == {"0000f77c-6257be58": 1203, "0001-b": 600} and listed.twice == 1
    path = write("b1\nb0\n")
    assert kind_of(path) == "videos"
    assert read_videos(path).frames == {"b1": None, "b0": None}


def test_clips_keep_lines_of_one_second(write: Write) -> None:
    path = write(f"v0 1 {TILE}\nv0 2 {TILE}\nv0 2 154447_197146\nv1 2 {TILE}\nv0 2 {TILE}\n")
    assert kind_of(path) == "clips"
    listed = read_clips(path)
    assert len(listed) == 5 and listed.twice == 2
    assert listed.video == ["v0", "v0", "v0", "v1", "v0"] and listed.second.tolist() == [1, 2, 2, 2, 2]
    assert listed.tile[2] == "154447_197146" and listed.picture == [""] * 5
    assert clip_id("v0", 2) == "v0_2"


def test_the_number_of_a_centred_picture_is_not_its_second(write: Write) -> None:
    path = write(f"v0/02.jpeg 1 {TILE}\nv0/03.jpeg 2 {TILE}\n")
    assert kind_of(path) == "crops"
    listed = read_clips(path)
    assert listed.picture == ["02.jpeg", "03.jpeg"] and listed.second.tolist() == [1, 2] and listed.video == ["v0"] * 2


def test_tiles_keep_their_first_video(write: Write) -> None:
    path = write(f"{TILE} v0\n154447_197146 v1\n{TILE} v1\n")
    assert kind_of(path) == "tiles"
    listed = read_tiles(path)
    assert listed.video == {TILE: "v0", "154447_197146": "v1"} and listed.twice == 1


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (read_videos, "v0 12\nv1 12 x\n", "line 2: 3 words, 'video' or 'video nframes' is expected"),
        (read_videos, "v0 twelve\n", "line 1: 'twelve' is no number of frames"),
        (read_videos, "v0 -3\n", "line 1: '-3' is no number of frames"),
        (read_videos, "v0 ²\n", "line 1: '²' is no number of frames"),
        (read_videos, "v0 12\n\nv0 13\n", "line 3: says of v0 13 frames, an earlier line 12"),
        (read_videos, "../../etc 12\n", "line 1: '../../etc' is no name of a video"),
        (read_videos, "..\n", "line 1: '..' is no name"),
        (read_clips, "v0 1\n", "line 1: 2 words, 'video second tile' is expected"),
        (read_clips, f"v0 1.5 {TILE}\n", "line 1: '1.5' is no second"),
        (read_clips, f"v0 99999999 {TILE}\n", "line 1: '99999999' is no second"),
        (read_clips, f"v0 1 {TILE}\nv0 1 524288_5\n", "line 2: '524288_5' is no tile x_y of Web Mercator at zoom 19"),
        (read_clips, "v0 1 5_6_7\n", "line 1: '5_6_7' is no tile"),
        (read_clips, f"v0/../../x 1 {TILE}\n", "line 1: '../../x' is no name of a video or picture"),
        (read_clips, f"v0/ 1 {TILE}\n", "line 1: '' is no name of a video or picture"),
        (read_clips, f"/etc/passwd 1 {TILE}\n", "line 1: '' is no name"),
        (read_tiles, f"{TILE}\n", "line 1: 1 words, 'tile video' is expected"),
        (read_tiles, "v0 v1\n", "line 1: 'v0' is no tile"),
    ],
)
def test_a_wrong_line_is_named(read: Callable[[Path], Any], text: str, said: str, write: Write) -> None:
    with pytest.raises(FormatError) as caught:
        read(write(text))
    assert said in str(caught.value) and "a.list" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_videos, read_clips, read_tiles, kind_of])
def test_nothing_to_read(read: Callable[[Path], Any], write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an empty list"):
        read(write(" \n\n"))
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.list")
    (tmp_path / "b.list").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="not UTF-8"):
        read(tmp_path / "b.list")


def test_too_many_words_are_no_list(write: Write) -> None:
    with pytest.raises(FormatError, match="line 1: 4 words"):
        kind_of(write("a b c d\n"))


def test_tiles_by_name() -> None:
    assert tile_of_name(TILE) == (154446, 197146) and tile_of_name("524287_0") == (524287, 0)
    assert tile_of_name("524288_0") is None and tile_of_name("1_2_3") is None and tile_of_name("-1_2") is None


def test_paths_of_centred_pictures(tmp_path: Path) -> None:
    path = tmp_path / "dict_centered.json"
    path.write_text(json.dumps({"v0_1": "satelite_data/val_gps/v0/02.jpeg"}))
    assert read_pictures(path) == {"v0_1": "satelite_data/val_gps/v0/02.jpeg"}
    for bad, said in (({"v0_1": 5}, "'v0_1' has '5'"), ({"v0_1": "../x"}, "no path of a picture"), ([], "not a JSON")):
        path.write_text(json.dumps(bad))
        with pytest.raises(FormatError, match=said):
            read_pictures(path)
