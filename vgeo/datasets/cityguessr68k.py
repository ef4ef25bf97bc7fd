"""CityGuessr68k (Kulkarni et al., ECCV 2024): videos of driving and walking in 166 cities, a folder of pictures each.

    <root>/<path of the video>/*.jpg, in the order of their names (some 100 a video)
    <root>/*.csv, *.txt: a table of names, or the published lists; see _cityguessr_tables.py

Videos have no positions and no clock: pictures count as one a second, and the place is the label city. The split is
80:20 within each city (section 5.1), all cities in both halves, drawn as that of MSLS, unless the table names it or
there are lists of both halves.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from sys import intern

import numpy as np

from vgeo.datasets._cityguessr_tables import Video, Videos, read_videos
from vgeo.datasets._splits import VAL, drawn
from vgeo.datasets.base import Layout, Part, Recipe, Sequences
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.geo.city_names import city_key
from vgeo.geo.hierarchy import namesakes
from vgeo.records import LEVELS, PlaceLabels
from vgeo.video.finding import IMAGE_SUFFIXES

_CLIP = 16  # frames that CityGuessr takes of a video
_UNNAMED = PlaceLabels()


class CityGuessr68k(Layout):
    """The data set as its authors hand it out, or any of that shape."""

    title = "cityguessr68k"
    shortest = 1
    reads_labels = True

    def __init__(self, root: Path, recipe: Recipe) -> None:
        super().__init__(root, recipe)
        given = {"--with-test": recipe.with_test, "--split-gaps": recipe.split_gaps, "--apart-m": recipe.apart_m}
        if ignored := [name for name, value in given.items() if value]:
            raise UsageError(f"{ignored[0]}: does nothing with --layout {self.title}; leave it out")
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; name the one that holds a folder of pictures for each video")
        self.videos = read_videos(root, recipe.labels)
        self._ids = _ids([video.path for video in self.videos.rows])
        self._cities = _chosen(_by_city(self.videos.rows), recipe.cities, self.videos)
        self._above = 0  # folders that listed paths begin with and that are not below root
        self._troubles: dict[str, list[str]] = {}

    def parts(self) -> list[str]:
        """The cities, by name; those of one name with what they lie in."""
        return list(self._cities)

    def published(self) -> str:
        """Counts of the paper."""
        return (
            f"{self.title}: the paper counts 68,269 videos = 54,614 train + 13,655 held out, of some 100 frames each, "
            "in 166 cities, 157 states, 91 countries, 6 continents (CityGuessr, sections 3 and 5.1)"
        )

    def read(self, part: str) -> Part:
        """List the pictures of a city's videos: one look into each folder, none at a picture."""
        videos, left_out = self._cities[part], Counter[str]()
        kept, pictures = list[Video](), list[tuple[Path, list[str]]]()
        for video in videos:
            folder, names, trouble = self._pictures(video)
            if trouble:
                left_out[trouble] += 1
                self._troubles.setdefault(trouble, []).append(video.path)
                continue
            if len(names) < _CLIP:
                self._troubles.setdefault(f"of fewer than {_CLIP} frames (kept)", []).append(video.path)
            kept.append(video)
            pictures.append((folder, names))
        sequences = _sequences(kept, [self._ids[video.path] for video in kept], self._split(kept, part), pictures)
        return Part(name=part, sequences=sequences, rows=len(videos), left_out=left_out)

    def nothing(self) -> str:
        """What to do where no video has pictures."""
        first = self.videos.rows[0].path
        return (
            f"none of the videos in {self.videos.source} has a folder with {_pictures(self.min_frames)} here; name the "
            f"folder that holds one for each, {first} first"
        )

    def remarks(self) -> list[str]:
        """Videos with something the matter, each kind in a line, and what is to be said of the table."""
        lines = [_line(paths, trouble) for trouble, paths in self._troubles.items()]
        rows = [video for videos in self._cities.values() for video in videos if video.labels.city]
        for level in LEVELS[1:]:
            without = [video.path for video in rows if not getattr(video.labels, level)]
            if 0 < len(without) < len(rows):
                lines.append(_line(without, f"without a {level}"))
        alone = [part for part, videos in self._cities.items() if len(videos) == 1 and videos[0].labels.city]
        if alone and not self.videos.split:
            lines.append(f"nothing is held out of cities of one video: {len(alone)}, {alone[0]} first")
        return lines + namesakes({video.labels.from_level(0) for video in rows}, LEVELS) + self.videos.remarks

    def summary(self, parts: Sequence[Part]) -> list[str]:
        """What was found and left out, in lines for people."""
        left_out = sum((part.left_out for part in parts), Counter({"listed twice": self.videos.listed_twice}))
        said = ", ".join(f"{number:,} {reason}" for reason, number in (+left_out).items()) or "nothing"
        lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.sequences.first) for part in parts)])
        labels = [labels for part in parts for labels in part.sequences.labels]
        sides = Counter(said["split"] for said in labels)
        halves = " + ".join(f"{number:,} {side}" for side, number in sorted(sides.items())) or "none"
        spread = f" ({lengths.min()} to {lengths.max()} a video)" if len(lengths) else ""
        split = self.videos.split or f"80:20 in each city, seed {self.recipe.seed}"
        listed = sum(part.rows for part in parts) + self.videos.listed_twice
        return [
            f"{self.title}: {listed:,} videos in {self.videos.source}; left out: {said}",
            f"{self.title}: {len(lengths):,} videos = {halves} ({split}), {int(lengths.sum()):,} frames{spread}, "
            f"in {_count_places(labels)}",
            self.published(),
        ]

    def _pictures(self, video: Video) -> tuple[Path, list[str], str]:
        """Folder, names of the pictures in order, and what is the matter ("" where nothing is)."""
        if not video.labels.city:
            return self.root, [], "without a city"
        parts = PurePosixPath(video.path).parts
        for above in dict.fromkeys((min(self._above, len(parts) - 1), *range(len(parts)))):
            folder = self.root.joinpath(*parts[above:])
            try:
                names = os.listdir(folder)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                return folder, [], "with a folder that cannot be read"
            self._above = above
            pictures = sorted(name for name in names if name[0] != "." and _suffix(name) in IMAGE_SUFFIXES)
            if not pictures:
                return folder, [], "with a folder without pictures"
            few = len(pictures) < self.min_frames
            return folder, pictures, f"of fewer than {self.min_frames} frames" if few else ""
        return self.root, [], "without a folder"

    def _split(self, videos: Sequence[Video], part: str) -> list[str]:
        if self.videos.split:
            return [video.split for video in videos]
        sides = drawn(len(videos), part, self.recipe.seed).side
        return ["val" if side == VAL else "train" for side in sides]


LAYOUT = CityGuessr68k


def _pictures(least: int) -> str:
    return "pictures" if least == 1 else f"{least} pictures or more"


def _line(videos: Sequence[str], trouble: str) -> str:
    return f"{videos[0]}: {trouble}" if len(videos) == 1 else f"{len(videos)} videos {trouble}, {videos[0]} first"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _ids(paths: Sequence[str]) -> dict[str, str]:
    """The name of each video's folder; where several have one name, the folders above are in front. All differ."""
    count = Counter(PurePosixPath(path).name for path in paths)
    common = len(os.path.commonpath(paths).split("/")) if len(paths) > 1 and os.path.commonpath(paths) else 0
    found = {}
    for path in paths:
        parts = path.split("/")
        found[path] = parts[-1] if count[parts[-1]] == 1 else "_".join(parts[min(common, len(parts) - 1) :])
    if twice := [
        path for path, n in zip(found, map(Counter(found.values()).get, found.values()), strict=True) if n != 1
    ]:
        raise FormatError(f"{twice[0]} and {twice[1]} would both be called {found[twice[0]]}; rename a folder")
    return found


def _by_city(videos: Sequence[Video]) -> dict[str, list[Video]]:
    """The videos of each city, sorted by its name; a city is a name together with what it lies in."""
    groups: dict[PlaceLabels, list[Video]] = {}
    for video in videos:
        groups.setdefault(video.labels if video.labels.city else _UNNAMED, []).append(video)
    count = Counter(labels.city for labels in groups)
    names = {
        labels: labels.city if count[labels.city] == 1 else ", ".join(name for name in labels.from_level(0) if name)
        for labels in groups
    }
    order = sorted(
        groups, key=lambda labels: (labels.city.zfill(9) if labels.city.isdecimal() else labels.city, names[labels])
    )
    return {names[labels] or "no city": groups[labels] for labels in order}


def _chosen(cities: dict[str, list[Video]], wanted: Sequence[str], videos: Videos) -> dict[str, list[Video]]:
    """The cities that are asked for, all when none are. Raises UsageError."""
    if not wanted:
        return cities
    keys = {part: city_key(some[0].labels.city) for part, some in cities.items()}
    for name in wanted:
        if city_key(name) not in keys.values():
            some = ", ".join(list(cities)[:8]) + (", ..." if len(cities) > 8 else "")
            raise UsageError(f"--city {name}: not in {videos.source}, which names {some}")
    asked = {city_key(name) for name in wanted}
    return {part: some for part, some in cities.items() if keys[part] in asked}


def _count_places(labels: Sequence[dict[str, str]]) -> str:
    """3 cities, 2 countries: what is named, each with what it lies in."""
    plural = dict(zip(LEVELS, ("cities", "states", "countries", "continents"), strict=True))
    places = [tuple(said.get(level, "") for level in LEVELS) for said in labels]
    counts = {level: len({place[i:] for place in places if place[i]}) for i, level in enumerate(LEVELS)}
    return ", ".join(f"{n:,} {plural[level] if n != 1 else level}" for level, n in counts.items() if n) or "no city"


def _sequences(
    videos: Sequence[Video], ids: list[str], sides: Sequence[str], pictures: Sequence[tuple[Path, list[str]]]
) -> Sequences:
    """Videos and the names of their pictures, as the rest of the program knows sequences.

    Names such as 000001.jpg are in every folder: they are held once.
    """
    lengths = [len(names) for _, names in pictures]
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    number = np.arange(first[-1]) - np.repeat(first[:-1], lengths)
    return Sequences(
        video_ids=ids,
        listing=[folder / names[0] for folder, names in pictures],
        labels=[
            {name: text for name, text in zip(LEVELS, video.labels.from_level(0), strict=True) if text}
            | {"split": side}
            for video, side in zip(videos, sides, strict=True)
        ],
        start_utc=[None] * len(videos),
        first=first,
        frame_index=number,
        time_s=number.astype(np.float64),
        latlon_deg=np.broadcast_to(np.nan, (len(number), 2)),
        paths=[intern(name) for _, names in pictures for name in names],
    )
