"""The records that cross layers: frozen, validated when made. Dictionaries do not cross layers.

Shapes: T frames of a clip, K candidates a frame, G gallery entries. Positions are (lat, lon) in degrees.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError

Floats = NDArray[np.float64]


def check_latlon(latlon_deg: NDArray[np.floating], what: str, allow_nan: bool = False) -> None:
    """Raise FormatError unless positions [..., 2] are finite degrees (or NaN pairs, where allowed) on the Earth."""
    if latlon_deg.ndim < 1 or latlon_deg.shape[-1] != 2:
        raise FormatError(f"{what}: positions have shape {latlon_deg.shape}, expected [..., 2]")
    lat, lon = latlon_deg[..., 0], latlon_deg[..., 1]
    known = ~(np.isnan(lat) & np.isnan(lon)) if allow_nan else np.ones(lat.shape, bool)
    bad = known & ~((np.abs(lat) <= 90) & (np.abs(lon) <= 360))
    if bad.any():
        first = int(np.flatnonzero(bad.ravel())[0])
        pair = latlon_deg.reshape(-1, 2)[first]
        hint = "; are latitude and longitude swapped?" if abs(pair[0]) > 90 and abs(pair[1]) <= 90 else ""
        raise FormatError(f"{what}: position {first} is not on the Earth: lat {pair[0]}, lon {pair[1]}{hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Where one clip's camera was (truth) or is said to have been (prediction), over time."""

    video_id: str
    latlon_deg: Floats  # [T, 2]
    time_s: Floats | None = None  # [T] from the clip's start, non-decreasing; None when the file says nothing of time
    start_utc: datetime | None = None  # absolute time of time_s == 0
    frame_index: NDArray[np.int64] | None = None  # [T] frame numbers in the clip, where known

    def __post_init__(self) -> None:
        check_latlon(self.latlon_deg, f"track {self.video_id}")
        if self.latlon_deg.ndim != 2:
            raise FormatError(f"track {self.video_id}: positions have shape {self.latlon_deg.shape}, expected [T, 2]")
        for name, values in (("time_s", self.time_s), ("frame_index", self.frame_index)):
            if values is not None and len(values) != len(self.latlon_deg):
                raise FormatError(
                    f"track {self.video_id}: {len(values)} of {name} for {len(self.latlon_deg)} positions"
                )
        if self.time_s is not None:
            if not np.isfinite(self.time_s).all():
                raise FormatError(f"track {self.video_id}: a time is not finite")
            if (np.diff(self.time_s) < 0).any():
                raise FormatError(f"track {self.video_id}: times run backwards")
        if self.start_utc is not None and self.start_utc.tzinfo is None:
            raise FormatError(f"track {self.video_id}: start_utc has no time zone")

    def __len__(self) -> int:
        return len(self.latlon_deg)

    def timestamps_utc(self) -> list[datetime] | None:
        """Absolute times, where the clip has a clock."""
        if self.start_utc is None or self.time_s is None:
            return None
        return [self.start_utc + timedelta(seconds=float(t)) for t in self.time_s]


def format_utc(when: datetime) -> str:
    """RFC 3339 in UTC with millisecond resolution: 2019-11-18T23:45:14.000Z."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> datetime:
    """Parse RFC 3339; a time without zone is taken as UTC. Raises FormatError."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise FormatError(f"{text!r}: not an RFC 3339 time such as 2019-11-18T23:45:14Z") from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)


LEVELS = ("city", "state", "country", "continent")  # CityGuessr's hierarchy, finest first


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLabels:
    """Names of a place at the four levels; "" where a level is not known."""

    city: str = ""
    state: str = ""
    country: str = ""
    continent: str = ""

    def from_level(self, level: int) -> tuple[str, ...]:
        """The names from a level upwards: 1 gives state, country and continent."""
        return (self.city, self.state, self.country, self.continent)[level:]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceVote:
    """One of the places that frames of a clip voted for, at one level."""

    labels: PlaceLabels  # from that level upwards
    share: float  # of the frames whose answer lies in it, 0 to 1
    probability: float  # mean over the frames of what their candidates in it have, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceVotes:
    """Which city a clip is in, and with it which state, country and continent."""

    rule: str  # how the frames decided: "majority" or "centroid"; "" where a file does not say
    ranking: tuple[tuple[PlaceVote, ...], ...]  # for each of LEVELS: the answer, then the runners-up; () when unknown

    def __post_init__(self) -> None:
        if len(self.ranking) != len(LEVELS) or not self.ranking[0]:
            raise FormatError("votes: no city, or not the four levels of places")

    @property
    def labels(self) -> PlaceLabels:
        """The answer: a city, and the state, country and continent that it lies in."""
        return self.ranking[0][0].labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Localization:
    """What a method says of one clip: a place for each frame, how sure, and the runners-up.

    Probabilities are a softmax over all places of the gallery. A refined search hands a place's probability down to
    what it is divided into, and what is not divided keeps its own: it is 1 in all, as with the fine gallery itself.
    """

    track: Track
    method: str
    confidence: Floats  # [T] in [0, 1]: share of the gallery-wide softmax that falls within 1 km of the position
    radius_km: Floats  # [T] radius around the position that holds half of the gallery-wide softmax
    candidates_deg: Floats  # [T, K, 2], best first
    candidate_scores: Floats  # [T, K] probability in [0, 1], falling
    places: tuple[str, ...] = ()  # [T] nearest place name; empty when not asked for
    source: str = ""  # the file that was localized
    votes: PlaceVotes | None = None  # which city the whole clip is in, where the gallery names its places' cities

    def __post_init__(self) -> None:
        n = len(self.track)
        shapes = (self.confidence.shape, self.radius_km.shape, self.candidates_deg.shape[:1])
        if any(shape != (n,) for shape in shapes) or self.candidates_deg.shape[:2] != self.candidate_scores.shape:
            raise FormatError(f"localization of {self.track.video_id}: lengths differ")
        if self.places and len(self.places) != n:
            raise FormatError(f"localization of {self.track.video_id}: {len(self.places)} places for {n} frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """One line of frames.jsonl: a frame on disk, when it was taken and, where known, where."""

    video_id: str
    frame_index: int
    time_s: float
    path: str  # relative to the frames.jsonl that names it
    timestamp_utc: str | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    labels: dict[str, str] = field(default_factory=dict)  # city, state, country, continent, split, ... of a data set


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one input of a batch; one line of --report."""

    input: str
    status: str  # "done", "skipped" (finished before) or "failed"
    message: str = ""  # for a failure: what, where, next step; else remarks such as salvaged frames
    exit_code: int = 0
    frames: int = 0
    declared_frames: int | None = None  # what the container claims
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """How far off many frames, or many videos, are."""

    count: int
    within_percent: tuple[float, ...]  # share within each of the report's `within_km`, in percent
    median_km: float
    mean_km: float
    p95_km: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackScore:
    """One clip's prediction against its truth, over the frames that both know."""

    video_id: str
    truth_id: str
    matched_by: str  # "clock", "time", "frame" or "order"
    frame_errors_km: Floats  # [T]
    video_error_km: float  # VidTAG, appendix E.1
    dfd_deg: float  # discrete Frechet distance, Euclidean on (lat, lon)
    dfd_km: float
    mrd_deg: float  # range difference, mean of latitude and longitude
    mrd_km: float
    unmatched_frames: int  # predicted frames for which the truth says nothing
    unmatched_truth: int  # positions of the truth that no scored frame is near


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReport:
    """All clips that were predicted and whose truth is known; never empty."""

    within_km: tuple[float, ...]
    frames: ErrorSummary  # over all frames of all clips
    videos: ErrorSummary
    clips: tuple[TrackScore, ...]
    unmatched_clips: tuple[str, ...]  # predicted, but without a truth that speaks of them
    unmatched_truth: tuple[str, ...]  # ids of truth tracks without a prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelScore:
    """How often clips' places are named rightly at one level."""

    level: str  # one of LEVELS
    clips: int  # whose truth is known at this level
    top1_percent: float
    top5_percent: float | None  # the truth is among the first five; None when nobody names runners-up


@dataclass(frozen=True, slots=True, kw_only=True)
class CityScore:
    """The clips of one true city."""

    labels: PlaceLabels
    clips: int
    correct: int
    mistaken_for: tuple[tuple[PlaceLabels, int], ...]  # how often, most first


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceReport:
    """Clips whose city was predicted and is known; never empty."""

    clips: int
    levels: tuple[LevelScore, ...]  # those that predictions and truth name, finest first
    cities: tuple[CityScore, ...]  # hardest first: by share of correct ones, then the larger number of clips
    unmatched_clips: tuple[str, ...]  # predicted, but without a truth that speaks of them
    unmatched_truth: tuple[str, ...]  # known, but not predicted


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallAt:
    """How often the truth is among the first so many."""

    asked: str  # "10", or "1%" of the gallery
    k: int | None  # None where the size of the gallery is not known, or the share of it is less than one
    percent: float | None  # None where no ranking is so long


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingReport:
    """Queries that were ranked and whose truth is known; never empty. Miles are on a sphere of 3956 miles radius."""

    rule: str  # "cn", "ucn" or "regions"
    queries: int
    gallery: int | None  # how many there were to rank, where known
    longest: int  # ranking
    recalls: tuple[RecallAt, ...]
    tolerance_mi: float | None  # what comes so near to the truth counts as it: in all of a ranking, or its first place
    within_mi: tuple[float, ...]
    within_percent: tuple[float | None, ...]  # first place is the truth, or within so many miles; None: places unknown
    mean_error_mi: float | None  # of first places; None where none of their positions is known
    median_error_mi: float | None
    measured: int  # queries whose first place's distance is known
    without_position: tuple[str, ...]  # whose own position is not known: judged by ids alone
    unanswered: tuple[str, ...]  # nothing was ranked
    repeating: int  # rankings that hold an id twice
    unplaced_ids: int  # ranked ids whose position is not known, where positions count
    unmatched_queries: tuple[str, ...]  # ranked, but without a truth
    unmatched_truth: tuple[str, ...]  # known, but not ranked
