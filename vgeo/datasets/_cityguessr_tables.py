"""What says which videos of CityGuessr68k there are: a table of names, or the published lists of ids.

Files are known by what they hold. A table has a header with city, and path or video_id; one without these two is the
table of names that belongs to the ids. A list has no header, see `formats/cityguessr_list.py`.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from vgeo.errors import FormatError, InputError
from vgeo.formats.cityguessr_list import first_line, is_list, read_list
from vgeo.formats.hierarchies import read_mapping, read_names
from vgeo.formats.place_labels import labels_by_clip, labels_of, video_of
from vgeo.formats.tables import plain_name
from vgeo.geo.hierarchy import Hierarchy, Ids, difference, first_conflict, unnamed
from vgeo.records import LEVELS, PlaceLabels

_TABLES, _MAPPING = (".csv", ".tsv", ".txt", ".list"), "hierarchy_mapping"
_HELD_OUT = ("test", "validation", "valid")  # what tables call what is held out, and we call val


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One video: the path of its folder as listed, made relative."""

    path: str
    labels: PlaceLabels
    split: str = ""  # "" where it is to be drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Videos:
    """All that are listed, where that was read, how they are split, and what a reader should know."""

    rows: list[Video]
    source: str
    split: str  # "" when it is to be drawn
    listed_twice: int = 0
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The files of a folder by what they hold."""

    videos: list[Path] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)
    names: list[Path] = field(default_factory=list)
    mapping: list[Path] = field(default_factory=list)


def read_videos(root: Path, labels: Path | None) -> Videos:
    """Read the videos from a table or list: `labels`, or what that folder holds, else what `root` holds.

    Names and mapping are sought beside a list, else in `root`. Raises InputError, FormatError.
    """
    place = root if labels is None else labels
    if not place.exists():
        raise InputError(f"{place}: no such table, list or folder")
    beside = _look(place if place.is_dir() else place.parent)
    chosen = beside if place.is_dir() else _look_at([place])
    if len(chosen.videos) + bool(chosen.lists) > 1:
        both = ", ".join(path.name for path in (*chosen.videos, *chosen.lists))
        raise FormatError(f"{place}: holds several tables of videos ({both}); name one with --labels")
    if chosen.videos:
        return _of_table(chosen.videos[0])
    if not chosen.lists:
        raise InputError(
            f"{place}: no table of videos (path, city, state, country, continent) and no list of CityGuessr68k; "
            "name one with --labels"
        )
    here = beside if place == root else _look(root)
    names = _only(beside.names or here.names, "tables of names")
    mapping = _only(beside.mapping or here.mapping, "mappings")
    return _of_lists(chosen.lists, names, mapping)


def _look(folder: Path) -> _Files:
    try:
        return _look_at(sorted(entry for entry in folder.iterdir() if _may_be(entry)))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def _may_be(entry: Path) -> bool:
    """By its name alone: a folder of 68,269 folders is not looked at one by one."""
    suffix = entry.suffix.lower()
    known = suffix in _TABLES or (suffix == ".json" and _MAPPING in entry.name.lower())
    return known and not entry.name.startswith(".") and entry.is_file()


def _look_at(paths: Iterable[Path]) -> _Files:
    found = _Files()
    for path in paths:
        line = first_line(path)
        if path.suffix.lower() == ".json":
            found.mapping.append(path)
        elif is_list(line):
            found.lists.append(path)
        elif "city" in line.lower():
            header = next(csv.reader([line], delimiter=max(",;\t|", key=line.count)), [])
            marks = {plain_name(name): plain_name(name) for name in header}
            if labels_of(marks).city:
                (found.videos if video_of(marks) else found.names).append(path)
    return found


def _only(paths: Sequence[Path], title: str) -> Path | None:
    if len(paths) > 1:
        raise FormatError(f"{paths[0].parent}: holds several {title} ({', '.join(p.name for p in paths)}); keep one")
    return paths[0] if paths else None


def _of_table(path: Path) -> Videos:
    rows = [
        Video(
            path=_relative(name, path),
            labels=PlaceLabels(**{level: said.get(level, "") for level in LEVELS}),
            split=said.get("split", ""),
        )
        for name, said in labels_by_clip(path).items()
    ]
    if without := [row.path for row in rows if not row.split]:
        if len(without) < len(rows):
            raise FormatError(
                f"{path}: names no split for {len(without)} of {len(rows)} videos, {without[0]} first; name all or none"
            )
        return Videos(rows=rows, source=path.name, split="")
    called = {row.split for row in rows}
    if "val" not in called and len(also := sorted(called.intersection(_HELD_OUT))) == 1:
        rows = [Video(path=r.path, labels=r.labels, split="val" if r.split in also else r.split) for r in rows]
        return Videos(rows=rows, source=path.name, split=f"as {path.name} names it, {also[0]} is val")
    return Videos(rows=rows, source=path.name, split=f"as {path.name} names it")


def _of_lists(lists: Sequence[Path], names: Path | None, mapping: Path | None) -> Videos:
    sides = _sides(lists)
    lists = sorted(lists, key=lambda path: sides[path] == "val")
    hierarchy = _hierarchy(names, mapping)
    rows, seen, twice, cities = list[Video](), dict[str, tuple[Path, tuple[int, ...]]](), 0, set[int]()
    by = "earlier lines" if mapping is None else mapping.name
    by = by if names is None else f"{names.name} (does it name every city?)"
    places = None if hierarchy is None else hierarchy.places()
    chains = list[Ids]()
    for path in lists:
        listed, ids = read_list(path, None if hierarchy is None else hierarchy.up, by)
        chains.append(ids)
        for name, row in zip(listed, map(tuple, ids.tolist()), strict=True):
            video = _relative(name, path)
            before = seen.setdefault(video, (path, row))
            if before != (path, row):
                where = f"both in {before[0].name} and" if before[0] != path else "twice, with other ids, in"
                raise FormatError(f"{path}: {video} is {where} {path.name}; list each video once")
            if len(seen) == len(rows):
                twice += 1
                continue
            cities.add(row[0])
            said = tuple(map(str, row)) if places is None else places[row[0]]
            rows.append(
                Video(path=video, labels=PlaceLabels(**dict(zip(LEVELS, said, strict=True))), split=sides[path])
            )
    title = " and ".join(path.name for path in lists)
    if hierarchy is None and (conflict := first_conflict(np.concatenate(chains), LEVELS)):
        raise FormatError(f"{lists[0].parent}: {title} differ: {conflict[1]}")
    remarks = [] if hierarchy is None else hierarchy.empty(cities)
    if names is None:
        remarks.append(
            "places go by their ids: their names are not published; a table city,state,country,continent of all "
            "cities beside the list gives them"
        )
    return Videos(
        rows=rows, source=title, split=f"as in {title}" if any(sides.values()) else "", listed_twice=twice,
        remarks=remarks,
    )  # fmt: skip


def _sides(lists: Sequence[Path]) -> dict[Path, str]:
    """Which list is of training; a single one is split by us. Raises FormatError."""
    if len(lists) == 1:
        return {lists[0]: ""}
    trained = [path for path in lists if "train" in path.stem.lower()]
    if len(lists) != 2 or len(trained) != 1:
        names = ", ".join(path.name for path in lists)
        raise FormatError(
            f"{lists[0].parent}: holds the lists {names}; keep two, one of them with train in its name, or name one "
            "with --labels"
        )
    return {path: "train" if path in trained else "val" for path in lists}


def _hierarchy(names: Path | None, mapping: Path | None) -> Hierarchy | None:
    """What lies in what, with names where there is a table of them. Raises FormatError where the two differ."""
    up = None if mapping is None else read_mapping(mapping)
    if names is None:
        return None if up is None else unnamed(up, LEVELS)
    named = read_names(names)
    if named.levels != LEVELS:
        missing = next(level for level in LEVELS if level not in named.levels)
        raise FormatError(f"{names}: names no {missing}; the ids of a list are of four levels")
    if up is not None and mapping is not None and (said := difference(named, up)):
        raise FormatError(f"{names}: {said}, as {mapping.name} has it; name every city, sorted as published")
    return named


def _relative(name: str, where: Path) -> str:
    """A listed path below whichever folder; one from a stranger must not leave it. Raises FormatError."""
    parts = [part for part in PurePosixPath(name).parts if part != "/"]
    if not parts or ".." in parts or "\0" in name:
        raise FormatError(f"{where}: {name!r} is no path of a folder in the data set")
    return "/".join(parts)
