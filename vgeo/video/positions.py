"""Where a clip was, over its own time: from a track file, a sidecar of the same name, or what the recording carries."""

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np

from vgeo.errors import FormatError, VgeoError
from vgeo.records import Floats, Track
from vgeo.video.telemetry import Fixes

log = logging.getLogger(__name__)

SIDECAR_SUFFIXES = (".gpx", ".csv", ".geojson", ".json", ".kml", ".srt")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSource:
    """Where positions come from and how they are laid over a clip."""

    file: Path | None = None  # or a folder of files named like the clips; None: a sidecar, else telemetry
    time_offset_s: float = 0.0  # added to the clip's time to get the track's
    max_gap_s: float = 2.0  # no position further than this from the nearest fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is known of a clip when a track is to be laid over it."""

    video_id: str
    path: Path
    duration_s: float
    start_utc: datetime | None


def find_fixes(
    clip: Moment, source: TrackSource, carried: Callable[[], tuple[Fixes | None, str]]
) -> tuple[Fixes | None, list[str]]:
    """Positions of a clip and remarks on them: `source.file`, else a sidecar, else what `carried` reads from inside.

    Where the recording carries a clock of its own, that one is laid against the track's.
    A given file that cannot serve raises FormatError; a sidecar that cannot is passed over with a remark.
    """
    remarks: list[str] = []
    if source.file is not None or sidecars(clip.path):
        inside = carried()[0]  # its clock is the satellites', the container's often local time
        if inside is not None and inside.start_utc is not None:
            clip = replace(clip, start_utc=inside.start_utc)
    if source.file is not None:
        fixes, remark = _from_file(source.file, clip, source.time_offset_s)
        return fixes, [remark]
    for sidecar in sidecars(clip.path):
        try:
            _refuse_prediction(sidecar)
            fixes, remark = _from_file(sidecar, clip, source.time_offset_s)
        except VgeoError as error:
            remarks.append(f"sidecar not used: {error}")
            continue
        return fixes, [*remarks, remark]
    carried_fixes, remark = carried()
    if carried_fixes is not None and source.time_offset_s:  # shifted, no position is a picture's own any more
        time_s = carried_fixes.time_s - source.time_offset_s
        carried_fixes = replace(carried_fixes, time_s=time_s, max_gap_s=math.inf)
    return carried_fixes, [*remarks, *([remark] if remark else [])]


def sidecars(path: Path) -> list[Path]:
    """Files beside `path` with its stem (a folder: its name) and a track's suffix, in a fixed order of suffixes."""
    stem = (path.name if path.is_dir() else path.stem).lower()
    folder = path.absolute().parent
    try:  # names alone: a folder of ten thousand clips is looked through for each of them
        names = {name.lower(): name for name in os.listdir(folder) if name.lower().startswith(stem)}
    except OSError:
        return []
    found = [folder / names[stem + suffix] for suffix in SIDECAR_SUFFIXES if stem + suffix in names]
    return [entry for entry in found if entry.name != path.name and entry.is_file()]


def _refuse_prediction(path: Path) -> None:
    """Raise FormatError for what `vgeo localize` wrote beside a clip: trained on, an answer would confirm itself."""
    from vgeo.formats.tracks import is_prediction

    if is_prediction(path):
        raise FormatError(
            f"{path.name}: where vgeo localized the clip, not where it was; --track takes it all the same"
        )


def track_file(given: Path, clip: Path) -> Path:
    """What to read of a given file or folder: in a folder, the file that is named like the clip, where there is one."""
    stem = clip.name if clip.is_dir() else clip.stem
    named = (given / f"{stem}{suffix}" for suffix in SIDECAR_SUFFIXES) if given.is_dir() else ()
    return next((file for file in named if file.is_file()), given)


def _from_file(given: Path, clip: Moment, offset_s: float) -> tuple[Fixes, str]:
    from vgeo.formats.tracks import read_tracks

    path = track_file(given, clip.path)
    tracks = _read_folder(path, path.stat().st_mtime_ns) if path.is_dir() else read_tracks(path)
    return align(_choose(tracks, path, clip), clip, offset_s, path.name)


@lru_cache(maxsize=1)
def _read_folder(folder: Path, _modified_ns: int) -> list[Track]:
    """All tracks of a folder, read once for all the clips that have no file of their name in it."""
    from vgeo.formats.tracks import read_tracks

    return read_tracks(folder)


def align(track: Track, clip: Moment, offset_s: float, name: str) -> tuple[Fixes, str]:
    """Bring a track to the clip's time, and say how.

    Where both have a clock and overlap on it, by absolute time. Else a track with a clock begins with the clip, and
    the times of one without count from the clip's start already. `offset_s` is added to the clip's time.
    """
    if track.time_s is None or len(track) == 0:
        raise FormatError(f"{name}: its track has no times, so it says nothing of when; use GPX or CSV with times")
    if track.start_utc is None:
        return _fixes(track, track.time_s - offset_s, None), f"positions from {name}, from the clip's start"
    if clip.start_utc is not None:
        time_s = track.time_s + (track.start_utc - clip.start_utc).total_seconds() - offset_s
        if time_s[-1] >= 0 and time_s[0] <= clip.duration_s:
            return _fixes(track, time_s, clip.start_utc), f"positions from {name}, by absolute time"
    first_s = float(track.time_s[0])
    start_utc = track.start_utc + timedelta(seconds=first_s + offset_s)
    remark = f"positions from {name}, its first point taken as the clip's start"
    if clip.start_utc is not None:
        remark += " (the clip's clock and the track's do not overlap)"
    return _fixes(track, track.time_s - first_s - offset_s, start_utc), remark


def _fixes(track: Track, time_s: Floats, start_utc: datetime | None) -> Fixes:
    return Fixes(time_s=np.asarray(time_s, np.float64), latlon_deg=track.latlon_deg, start_utc=start_utc)


def _choose(tracks: list[Track], path: Path, clip: Moment) -> Track:
    """The track named like the clip, the only one, or the only one whose time overlaps the clip's."""
    if not tracks:
        raise FormatError(f"{path}: holds no track")
    named = [track for track in tracks if track.video_id == clip.video_id]
    if len(named) == 1 or len(tracks) == 1:
        return (named or tracks)[0]
    if clip.start_utc is not None:
        end_utc = clip.start_utc + timedelta(seconds=clip.duration_s)
        overlapping = [
            track
            for track in tracks
            if (when := track.timestamps_utc()) and when[-1] >= clip.start_utc and when[0] <= end_utc
        ]
        if len(overlapping) == 1:
            return overlapping[0]
    raise FormatError(
        f"{path}: holds {len(tracks)} tracks, and none is named {clip.video_id}; give a file with this clip's track"
    )
