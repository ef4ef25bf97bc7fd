"""The contract of a data set's layout: a folder is read part by part (such as city by city) into sequences of frames.

No picture is opened: what is read are lists, and names in folders. Shapes: S sequences, N frames of all of them.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import UsageError
from vgeo.records import FrameRecord, format_utc, parse_utc
from vgeo.video.finding import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How sequences are made of a data set and split into training and validation. Raises UsageError."""

    min_frames: int | None = None  # None: as many as the layout asks for
    split_gaps: bool = False  # cut where frame numbers leap, as the data set's own loader asks for
    seed: int = 0
    apart_m: float | None = None  # None: sequences are drawn; else no validation sequence comes so near to training
    with_test: bool = False  # read the parts without positions, too
    cities: tuple[str, ...] = ()  # only these; none is all
    labels: Path | None = None  # the table or list of the videos, where a layout takes one; None: in its folder

    def __post_init__(self) -> None:
        if self.min_frames is not None and self.min_frames < 1:
            raise UsageError(f"--min-frames {self.min_frames}: must be at least 1")
        if self.apart_m is not None and not 0 < self.apart_m < 1e6:
            raise UsageError(f"--apart-m {self.apart_m:g}: must be more than 0 and less than 1,000,000")
        if self.apart_m is not None and self.with_test:
            raise UsageError("--apart-m needs positions, which the cities of --with-test lack: give one of them")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequences:
    """Sequences of one part, their frames in a row."""

    video_ids: list[str]  # [S]
    listing: list[Path]  # [S] the file that lists a sequence; its pictures are named from its folder
    labels: list[dict[str, str]]  # [S] city, country, split, ...
    start_utc: list[str | None]  # [S] absolute time of time_s == 0
    first: NDArray[np.int64]  # [S+1]
    frame_index: NDArray[np.int64]  # [N]
    time_s: NDArray[np.float64]  # [N] rising in each sequence
    latlon_deg: NDArray[np.float64]  # [N, 2], NaN where unknown
    paths: list[str]  # [N]

    def __len__(self) -> int:
        return len(self.video_ids)

    def clips(self) -> list[Clip]:
        """A clip for each sequence; its frames are made when it is opened."""
        return [
            Clip(video_id, self.listing[s], "frames", partial(self.frames, s))
            for s, video_id in enumerate(self.video_ids)
        ]

    def frames(self, s: int) -> list[FrameRecord]:
        """The frames of a sequence."""
        text = self.start_utc[s]
        start = None if text is None else parse_utc(text)
        rows = range(int(self.first[s]), int(self.first[s + 1]))
        return [
            FrameRecord(
                video_id=self.video_ids[s],
                frame_index=int(self.frame_index[row]),
                time_s=float(self.time_s[row]),
                path=self.paths[row],
                timestamp_utc=None if start is None else format_utc(start + timedelta(seconds=float(self.time_s[row]))),
                lat_deg=lat_deg,
                lon_deg=lon_deg,
                labels=self.labels[s],
            )
            for row in rows
            for lat_deg, lon_deg in [
                (None, None) if np.isnan(self.latlon_deg[row, 0]) else map(float, self.latlon_deg[row])
            ]
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What was read of one part, and what was left out of it and why."""

    name: str
    sequences: Sequences
    rows: int  # in the data set's lists
    left_out: Counter[str] = field(default_factory=Counter)  # "panoramas" -> number, as a reader is told


class Layout(ABC):
    """A data set on disk. Making one only looks at the folder and what it lists; `read` reads."""

    title: ClassVar[str]
    shortest: ClassVar[int]  # frames of the shortest sequences, unless asked otherwise
    reads_labels: ClassVar[bool] = False  # whether `Recipe.labels` names what lists the videos
    parts_are: ClassVar[str] = "cities"

    def __init__(self, root: Path, recipe: Recipe) -> None:
        """Raise InputError unless `root` is such a folder, and UsageError for what it has not or does not do."""
        if recipe.labels is not None and not self.reads_labels:
            raise UsageError(f"--labels: does nothing with --layout {self.title}; leave it out")
        self.root, self.recipe = root, recipe
        self.min_frames = self.shortest if recipe.min_frames is None else recipe.min_frames

    def describe(self) -> str:
        """Canonical text: equal texts make equal sequences and labels of a city, whichever other cities are read."""
        words = [f"min_frames={self.min_frames}", f"seed={self.recipe.seed}"]
        words += ["split_gaps"] if self.recipe.split_gaps else []
        words += [] if self.recipe.apart_m is None else [f"apart_m={self.recipe.apart_m:.15g}"]
        return " ".join(words)

    @abstractmethod
    def parts(self) -> list[str]:
        """Names of the parts to read; never empty."""

    @abstractmethod
    def read(self, part: str) -> Part:
        """Read a part. Raises InputError, FormatError."""

    @abstractmethod
    def published(self) -> str:
        """What the papers count in this data set, in one line, to be read beside our own counts."""

    def nothing(self) -> str:
        """What to say where all was read and no sequence found."""
        return f"no sequence of {self.min_frames} frames; see --min-frames"

    def remarks(self) -> list[str]:
        """What to be warned of in what was read, in lines for people."""
        return []

    def summary(self, parts: Sequence[Part]) -> list[str]:
        """What was found and left out, in lines for people."""
        left_out = sum((part.left_out for part in parts), Counter[str]())
        said = ", ".join(f"{number:,} {reason}" for reason, number in left_out.items()) or "nothing"
        sequences = [part.sequences for part in parts]
        lengths = np.concatenate([np.diff(s.first) for s in sequences]) if sequences else np.zeros(0, np.int64)
        sides = Counter(labels.get("split", "") for s in sequences for labels in s.labels)
        placed = sum(int(np.isfinite(s.latlon_deg[:, 0]).sum()) for s in sequences)
        spread = f" ({lengths.min()} to {lengths.max()} a sequence)" if len(lengths) else ""
        rows = sum(part.rows for part in parts)
        return [
            f"{self.title}: {rows:,} pictures listed for {len(parts)} cities; left out: {said}",
            f"{self.title}: {len(lengths):,} sequences = {sides['train']:,} train + {sides['val']:,} val, "
            f"{int(lengths.sum()):,} frames{spread}, {placed:,} with a position",
            self.published(),
        ]
