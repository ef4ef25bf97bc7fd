"""The lists that GAMa (Vyas et al., ECCV 2022) publishes: which videos, clips and tiles there are.

    train.list, train_day.list         video nframes
    val_day_vid.list                   video
    val_gps_day.list                   video second tile
    gallery_gps_day_center.list        video/02.jpeg second tile     (aerial pictures centred on places: CN)
    gallery_gps.list                   tile video                    (tiles as they are cut from the map: UCN)

A clip is called <video>_<second>, a tile x_y, of Web Mercator at zoom 19. The number of a centred picture is that of
its place among the video's locations, not its second. Words are separated by spaces; files are known by what they
hold. Rankings and sequences of ids, {query: [ids]}, are read by `formats/rankings.py`.
"""

import re
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.streams import parse_json, read_text
from vgeo.geo.tiles import ZOOM

Kind = Literal["videos", "clips", "crops", "tiles"]

_TILE = re.compile(r"(\d{1,9})_(\d{1,9})")
_LONGEST_S = 10**6  # beyond it a second is none of a video
_MOST_FRAMES = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoList:
    """Videos, each once, and how many frames each has where the list says so."""

    frames: dict[str, int | None]
    twice: int  # lines that name a video again


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipList:
    """Clips in the order of the list; C clips. A (video, second) may come twice: 162 do in that of validation."""

    video: list[str]  # [C]
    second: NDArray[np.int64]  # [C]
    tile: list[str]  # [C]
    picture: list[str]  # [C] name of the centred picture in the video's folder; "" where the list says none
    twice: int  # clips of a second that an earlier line has, too

    def __len__(self) -> int:
        return len(self.video)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileList:
    """Tiles, each once, and a video in whose folder each lies."""

    video: dict[str, str]  # tile -> video
    twice: int  # lines that name a tile again


def clip_id(video: str, second: float) -> str:
    """What the clip is called that begins at a whole second, and the centred picture of its place."""
    return f"{video}_{round(second)}"


def clip_of(name: str) -> tuple[str, int] | None:
    """Video and second of what is called like a clip; None for other names."""
    video, _, second = name.rpartition("_")
    return (video, int(second)) if video and second.isdecimal() and len(second) < 10 else None


def kind_of(path: Path) -> Kind:
    """What a list is of, by its first line. Raises InputError, FormatError."""
    for number, words in _lines(path):
        if len(words) == 3:
            return "crops" if "/" in words[0] else "clips"
        if len(words) == 2 and _TILE.fullmatch(words[0]):
            return "tiles"
        if len(words) <= 2:
            return "videos"
        raise FormatError(f"{path} line {number}: {len(words)} words, a list of GAMa has one to three")
    raise InputError(f"{path}: an empty list")


def read_videos(path: Path) -> VideoList:
    """Read `video` or `video nframes`. Raises InputError, and FormatError naming the line."""
    frames, twice = dict[str, int | None](), 0
    for number, words in _lines(path):
        here = f"{path} line {number}"
        if len(words) > 2:
            raise FormatError(f"{here}: {len(words)} words, 'video' or 'video nframes' is expected")
        video = _name(words[0], here)
        count = _whole(words[1], "number of frames", _MOST_FRAMES, here) if len(words) == 2 else None
        twice += video in frames
        if frames.setdefault(video, count) != count:
            raise FormatError(f"{here}: says of {video} {count} frames, an earlier line {frames[video]}")
    _refuse_empty(frames, path)
    return VideoList(frames=frames, twice=twice)


def read_clips(path: Path) -> ClipList:
    """Read `video second tile`, or `video/02.jpeg second tile`. Raises InputError, and FormatError naming the line."""
    video, second, tile, picture = list[str](), list[int](), list[str](), list[str]()
    for number, words in _lines(path):
        here = f"{path} line {number}"
        if len(words) != 3:
            raise FormatError(f"{here}: {len(words)} words, 'video second tile' is expected")
        name, _, file = words[0].partition("/")
        video.append(_name(name, here))
        picture.append(_name(file, here) if "/" in words[0] else "")
        second.append(_whole(words[1], "second", _LONGEST_S, here))
        tile.append(_tile(words[2], here))
    _refuse_empty(video, path)
    different = len(set(zip(video, second, strict=True)))
    return ClipList(
        video=video,
        second=np.array(second, np.int64),
        tile=tile,
        picture=picture,
        twice=len(video) - different,
    )


def read_tiles(path: Path) -> TileList:
    """Read `tile video`. Raises InputError, and FormatError naming the line. The first video of a tile is kept."""
    found, twice = dict[str, str](), 0
    for number, words in _lines(path):
        here = f"{path} line {number}"
        if len(words) != 2:
            raise FormatError(f"{here}: {len(words)} words, 'tile video' is expected")
        tile = _tile(words[0], here)
        twice += tile in found
        found.setdefault(tile, _name(words[1], here))
    _refuse_empty(found, path)
    return TileList(video=found, twice=twice)


def read_pictures(path: Path) -> dict[str, str]:
    """Read dict_centered.json, clip -> path of its centred picture. Raises InputError, and FormatError naming it."""
    said = parse_json(read_text(path), path)
    if not isinstance(said, dict):
        raise FormatError(f"{path}: not a JSON object of {{clip: path}}")
    found = {}
    for clip, picture in said.items():
        parts = PurePosixPath(picture).parts if isinstance(picture, str) else ()
        if not parts or ".." in parts or "\0" in picture:
            raise FormatError(f"{path}: clip {clip[:80]!r} has {str(picture)[:40]!r}, no path of a picture")
        found[clip] = picture
    _refuse_empty(found, path)
    return found


def tile_of_name(name: str) -> tuple[int, int] | None:
    """x and y of a tile called x_y; None where that is no tile of zoom 19."""
    found = _TILE.fullmatch(name)
    if not found or max(int(found[1]), int(found[2])) >= 2**ZOOM:
        return None
    return int(found[1]), int(found[2])


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbers and words of the lines that are not blank."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if words := line.split():
            yield number, words


def _refuse_empty(found: Sized, path: Path) -> None:
    if not len(found):
        raise InputError(f"{path}: an empty list")


def _name(word: str, here: str) -> str:
    """A name that may be joined to a folder's path: lists come from strangers. Raises FormatError."""
    if not word or word[0] == "." or "/" in word or "\\" in word or "\0" in word or len(word) > 200:
        raise FormatError(f"{here}: {word[:60]!r} is no name of a video or picture")
    return word


def _whole(word: str, what: str, most: int, here: str) -> int:
    if not (word.isascii() and word.isdecimal()) or len(word) > 12 or int(word) >= most:
        raise FormatError(f"{here}: {word[:40]!r} is no {what}")
    return int(word)


def _tile(word: str, here: str) -> str:
    if tile_of_name(word) is None:
        raise FormatError(f"{here}: {word[:60]!r} is no tile x_y of Web Mercator at zoom {ZOOM}")
    return word
