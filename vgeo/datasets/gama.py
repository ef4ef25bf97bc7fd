"""GAMa (Vyas et al., ECCV 2022): rides of BDD100K with GPS about once a second, and their places seen from above.

    <root>/video_data/{train,val}/<video>.mov/%04d.png       30 a second
    <root>/info/{train,val}/<video>.json                     locations; see formats/ride_info.py
    <root>/satelite_data/...                                 aerial pictures (spelt so); see stages/gama_data.py
    <root>/*.list or <root>/list/*.list                      see formats/gama_lists.py

A sequence is a video with one picture for each second that has a location: VidTAG (appendix A) counts some 38 of them a
video, as many as GAMa has clips. Where lists name the videos of a split, and perhaps their clips, these are taken. Else
all are that drive neither too little nor too far: mu in [0.001, 0.004] degrees (section 3).

A second's place is that of the location nearest in time. (The published evaluation takes one whose whole second is the
same, else 0,0.)
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgeo.datasets._gama_lists import SPLITS, find_lists
from vgeo.datasets._gama_rides import FPS, Ride, find_shots, make_ride
from vgeo.datasets.base import Layout, Part, Recipe, Sequences
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.gama_lists import TileList
from vgeo.formats.ride_info import RideInfo, read_ride_info
from vgeo.records import format_utc

MU_DEG = (0.001, 0.004)  # section 3: stationary and very fast videos are left out
_ROUNDED = 1e-9  # of differences of degrees
_VIDEO = ".mov"
_PIECE = 1000  # videos


@dataclass(frozen=True, slots=True)
class Found:
    """A ride, or why there is none."""

    video_id: str
    ride: Ride | None
    trouble: str = ""


class Gama(Layout):
    """The data set as its authors hand it out."""

    title = "gama"
    shortest = 1
    reads_labels = True
    parts_are = "parts"

    def __init__(self, root: Path, recipe: Recipe) -> None:
        super().__init__(root, recipe)
        given = {
            "--with-test": recipe.with_test,
            "--split-gaps": recipe.split_gaps,
            "--apart-m": recipe.apart_m,
            "--city": recipe.cities,
            "--seed": recipe.seed,
        }
        if ignored := [name for name, value in given.items() if value]:
            raise UsageError(f"{ignored[0]}: does nothing with --layout {self.title}; leave it out")
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; name the one that holds video_data/ and info/")
        there = [split for split in SPLITS if (root / "video_data" / split).is_dir()]
        if not there:
            raise InputError(f"{root}: {_instead(root)}")
        self._halves = find_lists(root, recipe.labels)
        self._splits = [split for split in there if recipe.labels is None or split in self._halves]
        if not self._splits:
            raise InputError(f"{root}: holds no video_data/{next(iter(self._halves))}, which {recipe.labels} is of")
        self._info = {split: _info_folder(root, split) for split in self._splits}
        self._pieces = {name: piece for split in self._splits for name, piece in self._cut(split)}
        self._troubles: dict[str, list[str]] = {}
        self._notes: Counter[str] = Counter()

    def splits(self) -> list[str]:
        """The splits whose pictures are there."""
        return list(self._splits)

    def parts(self) -> list[str]:
        """The splits, in pieces where they are large: a piece takes some seconds."""
        return list(self._pieces)

    def describe(self) -> str:
        """Canonical text: equal texts make equal sequences."""
        lists = {split: "+".join(half.sources) for split, half in self._halves.items() if split in self._splits}
        said = " ".join(f"{split}={names}" for split, names in lists.items())
        return f"min_frames={self.min_frames} {said or f'mu={MU_DEG[0]:g}..{MU_DEG[1]:g}'}"

    def published(self) -> str:
        """Counts of the paper."""
        return (
            f"{self.title}: the paper counts 45,029 train + 6,506 test videos with 1.68 M + 243,000 clips, of the day "
            "21,144 + 3,103 with 790,000 + 116,000 (GAMa, Table 1); its range of mu leaves 46,596 + 6,728, of which "
            "those without GPS were dropped (section 3)"
        )

    def tiles(self, split: str) -> TileList | None:
        """The published list of tiles of a split."""
        half = self._halves.get(split)
        return None if half is None else half.tiles

    def videos(self, split: str) -> list[str]:
        """The videos of a split: those that lists name, else all that have a folder of pictures."""
        half = self._halves.get(split)
        if half is not None:
            return list(half.frames)
        names = (entry.name for entry in (self.root / "video_data" / split).iterdir() if entry.name[0] != ".")
        return sorted({name.removesuffix(_VIDEO) for name in names})

    def rides(self, split: str, videos: Sequence[str]) -> Iterator[Found]:
        """Read videos of a split, one after the other; what cannot be read becomes a trouble."""
        for video in videos:
            try:
                found = self._ride(video, split)
            except (FormatError, InputError) as error:
                found = Found(video, None, "with an info file or pictures that cannot be read")
                self._note(str(error), found.trouble)
            else:
                if found.trouble:
                    self._note(video, found.trouble)
            yield found

    def read(self, part: str) -> Part:
        """List the pictures of a split, or of a piece of it."""
        left_out, rides = Counter[str](), list[tuple[Ride, NDArray[np.bool_]]]()
        split, videos = self._pieces[part]
        for found in self.rides(split, videos):
            if found.ride is None:
                left_out[found.trouble] += 1
                continue
            ride = found.ride
            there = ride.shots.have(ride.second * FPS)
            self._notes["seconds without a picture are left out"] += int((~there).sum())
            self._notes["seconds have no location within a second"] += int(np.isnan(ride.latlon_deg[there, 0]).sum())
            if there.sum() < self.min_frames:
                left_out[f"of fewer than {self.min_frames} seconds"] += 1
                continue
            rides.append((ride, there))
        return Part(name=part, sequences=_sequences(rides), rows=len(videos), left_out=left_out)

    def nothing(self) -> str:
        """What to do where no video can be used."""
        said = "; ".join(f"{len(videos)} {trouble}, {videos[0]} first" for trouble, videos in self._troubles.items())
        return f"no video with pictures and locations ({said or 'video_data/ is empty'})"

    def remarks(self) -> list[str]:
        """What was found in the files that a user may want to mend."""
        lines = [
            f"{videos[0]}: {trouble}" if len(videos) == 1 else f"{len(videos)} videos {trouble}, {videos[0]} first"
            for trouble, videos in self._troubles.items()
        ]
        lines += [
            f"{name}: {number} lines are of a second that an earlier line names, too"
            for half in self._halves.values()
            for name, number in half.twice.items()
        ]
        return lines + [f"{number} {words}" for words, number in self._notes.items() if number]

    def summary(self, parts: Sequence[Part]) -> list[str]:
        """What was found and left out, in lines for people."""
        left_out = sum((part.left_out for part in parts), Counter[str]())
        said = ", ".join(f"{number:,} {reason}" for reason, number in left_out.items()) or "nothing"
        lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.sequences.first) for part in parts)])
        labels = [labels for part in parts for labels in part.sequences.labels]
        sides = Counter(labels["split"] for labels in labels)
        halves = " + ".join(f"{sides[split]:,} {split}" for split in self._splits)
        times = Counter(labels.get("daytime", "") for labels in labels)
        daytime = "".join(f", {times[name]:,} by {name}" for name in ("day", "night") if times[name])
        spread = f" ({lengths.min()} to {lengths.max()} a video)" if len(lengths) else ""
        sources = ", ".join(name for half in self._halves.values() for name in half.sources)
        chosen = f"named by {sources}" if sources else f"there, taken with mu in [{MU_DEG[0]:g}, {MU_DEG[1]:g}]"
        return [
            f"{self.title}: {sum(part.rows for part in parts):,} videos {chosen}; left out: {said}",
            f"{self.title}: {len(lengths):,} videos = {halves}{daytime}, {int(lengths.sum()):,} seconds{spread}",
            self.published(),
        ]

    def _cut(self, split: str) -> Iterator[tuple[str, tuple[str, list[str]]]]:
        """Pieces of a split by name."""
        videos = self.videos(split)
        count = max(1, -(-len(videos) // _PIECE))
        for i in range(count):
            name = split if count == 1 else f"{split} {i + 1} of {count}"
            yield name, (split, videos[i * _PIECE : (i + 1) * _PIECE])

    def _ride(self, video: str, split: str) -> Found:
        half = self._halves.get(split)
        path = self._info[split] / f"{video}.json"
        if not path.is_file():
            return Found(video, None, "without an info file")
        info = read_ride_info(path)
        if not info.used.any():
            return Found(video, None, "without a location that can be used")
        if half is None and not _drives(info):
            return Found(video, None, f"with mu outside {MU_DEG[0]:g} to {MU_DEG[1]:g} degrees")
        folder = self.root / "video_data" / split
        shots = find_shots(folder / f"{video}{_VIDEO}") or find_shots(folder / video)
        if shots is None:
            return Found(video, None, "without pictures")
        listed, daytime = (None, "") if half is None else (half.clips.get(video), half.daytime(video))
        ride = make_ride(video, split, daytime, shots, info, listed)
        self._observe(ride, info, None if half is None else half.frames.get(video))
        if not len(ride.second):
            return Found(video, None, "without a second that has a location")
        return Found(video, ride)

    def _observe(self, ride: Ride, info: RideInfo, frames: int | None) -> None:
        """Note what is odd about a video that is taken all the same."""
        for reason, number in info.left_out.items():
            self._notes[f"locations {reason} are not used"] += number
        self._notes["listed tiles are not where their locations lie; is the zoom 19?"] += ride.elsewhere
        if frames is not None and frames != len(ride.shots.names):
            self._note(ride.video_id, "with other numbers of pictures than the list says (kept)")

    def _note(self, video: str, trouble: str) -> None:
        self._troubles.setdefault(trouble, []).append(video)


LAYOUT = Gama


def _drives(info: RideInfo) -> bool:
    """Whether a video drives neither too little nor too far."""
    return MU_DEG[0] - _ROUNDED <= info.range_deg() <= MU_DEG[1] + _ROUNDED


def _instead(root: Path) -> str:
    """What to do with a folder that has no pictures in it."""
    for split in ("val", "train"):
        videos = next((f for f in (root / "videos" / split, root / "videos/100k" / split) if f.is_dir()), None)
        if videos is not None:
            return (
                "holds videos of BDD100K and no pictures of them; "
                f"'vgeo extract-frames {videos} --track {_info_folder(root, split)} --rate-hz 15' makes pictures with "
                "positions, and no --layout is needed after that"
            )
    return "not a folder of GAMa, it holds no video_data/train or video_data/val; name the one that does"


def _info_folder(root: Path, split: str) -> Path:
    """Where a split's info files are, in GAMa's folder or in BDD100K's."""
    places = (root / "info" / split, root / "info/100k" / split, root / "info")
    return next((place for place in places if place.is_dir()), places[0])


def _sequences(rides: Sequence[tuple[Ride, NDArray[np.bool_]]]) -> Sequences:
    """Videos and the pictures of their seconds, as the rest of the program knows sequences."""
    seconds = [ride.second[there] for ride, there in rides]
    joined = np.concatenate([np.zeros(0, np.int64), *seconds])
    return Sequences(
        video_ids=[ride.video_id for ride, _ in rides],
        listing=[ride.shots.folder / ride.shots.names[0] for ride, _ in rides],
        labels=[ride.labels() for ride, _ in rides],
        start_utc=[format_utc(datetime.fromtimestamp(ride.start_ms / 1000, UTC)) for ride, _ in rides],
        first=np.concatenate([[0], np.cumsum([len(some) for some in seconds])]).astype(np.int64),
        frame_index=joined * FPS,
        time_s=joined.astype(np.float64),
        latlon_deg=np.concatenate([np.zeros((0, 2)), *(ride.latlon_deg[there] for ride, there in rides)]),
        paths=[ride.shots.name(int(one) * FPS) for (ride, _), some in zip(rides, seconds, strict=True) for one in some],
    )
