"""Which videos, seconds and pictures of GAMa's folder the published lists name, found by the lists' names.

Shapes: C listed clips.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vgeo.errors import FormatError, InputError
from vgeo.formats.gama_lists import (
    Kind,
    TileList,
    clip_id,
    kind_of,
    read_clips,
    read_pictures,
    read_tiles,
    read_videos,
)

SPLITS = ("train", "val")
_FOLDERS = ("", "list", "lists", "dict", "list/dict")
# A subset that training of the screening network takes, train_day_tiny.list, is read where it is named.
_NAMES = {
    "train": ("train.list", "train_day.list"),
    "val": (
        "val.list", "val_vid.list", "val_day_vid.list", "val_gps.list", "val_gps_day.list", "gallery_gps_center.list",
        "gallery_gps_day_center.list",
    ),
}  # fmt: skip
_TILES = "gallery_gps.list"  # of validation
_PICTURES = ("dict_centered.json",)  # of validation


class Listed(NamedTuple):
    """A clip of a list."""

    second: int
    tile: str
    picture: str  # of its place, centred; "" where no list names it


@dataclass(slots=True, kw_only=True)
class Half:
    """What the lists say of one split."""

    sources: list[str] = field(default_factory=list)  # names of the lists
    frames: dict[str, int | None] = field(default_factory=dict)  # video -> its number of frames
    clips: dict[str, list[Listed]] = field(default_factory=dict)  # video -> its clips, in the order of the list
    day: set[str] = field(default_factory=set)  # videos that a list of days names
    all_day: bool = True  # whether there are lists of days alone: then nothing is said of night
    tiles: TileList | None = None
    twice: Counter[str] = field(default_factory=Counter)  # list -> lines that say again what an earlier one said

    def daytime(self, video: str) -> str:
        """day, night, or "" where lists do not tell."""
        if video in self.day:
            return "day"
        return "night" if self.day and not self.all_day and video in self.frames else ""


def find_lists(root: Path, given: Path | None) -> dict[str, Half]:
    """What lists say of each split that they name: those in `root` and its list/, or `given`, a list or a folder.

    A list that is given says by its name of which split it is. Raises InputError, FormatError.
    """
    if given is not None and not given.exists():
        raise InputError(f"{given}: no such list or folder of lists")
    if given is not None and given.is_file():
        split = _split_of(given)
        return {split: _half(split, [given], (given.parent, root))}
    place = given or root
    found = {
        split: _half(split, paths, (place, root)) for split in SPLITS if (paths := _existing((place,), _NAMES[split]))
    }
    if given is not None and not found:
        names = ", ".join(name for split in SPLITS for name in _NAMES[split])
        raise InputError(f"{given}: holds none of {names}")
    return found


def _split_of(path: Path) -> str:
    stem = path.stem.lower()
    if "train" in stem:
        return "train"
    if "val" in stem or "gallery" in stem:
        return "val"
    raise FormatError(f"{path}: of which split? give the list a name with train or val in it")


def _existing(places: Iterable[Path], names: Sequence[str]) -> list[Path]:
    """The first of each name below one of the places."""
    found = [
        [place / folder / name for place in places for folder in _FOLDERS if (place / folder / name).is_file()]
        for name in names
    ]
    return [paths[0] for paths in found if paths]


def _half(split: str, paths: Sequence[Path], places: tuple[Path, Path]) -> Half:
    half = Half()
    of: dict[Kind, list[Path]] = {"videos": [], "clips": [], "crops": [], "tiles": []}
    for path in paths:
        of[kind_of(path)].append(path)
    if of["tiles"]:
        raise FormatError(f"{of['tiles'][0]}: a list of tiles; name one of videos or of clips")
    for path in of["videos"]:
        listed = read_videos(path)
        _note(half, path, listed.frames, listed.twice)
        half.frames |= {video: count or half.frames.get(video) for video, count in listed.frames.items()}
    for path in (*of["crops"], *of["clips"]):  # the former say more
        _add_clips(half, path)
    if split == "val":
        _name_pictures(half, _existing(places, _PICTURES))
        if tiles := _existing(places, (_TILES,)):
            half.tiles = read_tiles(tiles[0])
    return half


def _add_clips(half: Half, path: Path) -> None:
    """Take the clips of the videos that no list before had clips of."""
    listed, known = read_clips(path), set(half.clips)
    for video, second, tile, picture in zip(
        listed.video, listed.second.tolist(), listed.tile, listed.picture, strict=True
    ):
        if video not in known:
            half.clips.setdefault(video, []).append(Listed(second, tile, picture))
    _note(half, path, listed.video, listed.twice)
    half.frames |= {video: half.frames.get(video) for video in listed.video}


def _note(half: Half, path: Path, videos: Iterable[str], twice: int) -> None:
    half.sources.append(path.name)
    if twice:
        half.twice[path.name] = twice
    if "_day" in path.stem:
        half.day.update(videos)
    else:
        half.all_day = False


def _name_pictures(half: Half, paths: Sequence[Path]) -> None:
    """Name the centred pictures where a dictionary does and the list of clips does not."""
    for path in paths:
        names = {clip: Path(picture).name for clip, picture in read_pictures(path).items()}
        for video, clips in half.clips.items():
            half.clips[video] = [
                one if one.picture else one._replace(picture=names.get(clip_id(video, one.second), "")) for one in clips
            ]
