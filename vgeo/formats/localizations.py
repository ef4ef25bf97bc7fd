"""Read back what `vgeo localize` wrote as GeoJSON: tracks with their confidences and runners-up, for maps and pictures.

Other GeoJSON has no confidences: read it with formats/tracks.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from vgeo.errors import FormatError
from vgeo.formats import votes
from vgeo.formats.streams import parse_json, read_text
from vgeo.records import Localization, Track, parse_utc


def read_localizations(path: str | Path) -> list[Localization]:
    """Read a FeatureCollection of vgeo's own, `-` for stdin. Raises InputError, FormatError."""
    document = parse_json(read_text(path), path)
    clips: dict[str, list[tuple[list[float], dict[str, Any]]]] = {}
    clip_says: dict[str, dict[str, Any]] = {}
    try:
        for feature in document["features"]:
            said = feature["properties"]
            if said.get("kind") == "track":
                clip_says[said["video_id"]] = said
            elif said.get("kind") == "frame":
                clips.setdefault(said["video_id"], []).append((feature["geometry"]["coordinates"], said))
        found = [_localization(name, frames, clip_says.get(name, {})) for name, frames in clips.items()]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FormatError(f"{path}: not a GeoJSON of 'vgeo localize' ({type(error).__name__}: {error})") from error
    if not found:
        raise FormatError(f"{path}: holds no frames of 'vgeo localize'")
    return found


def _localization(
    name: str, frames: Sequence[tuple[list[float], dict[str, Any]]], clip_says: dict[str, Any]
) -> Localization:
    said = [properties for _, properties in frames]
    k = min(len(one["candidates"]) for one in said)
    candidates = [one["candidates"][:k] for one in said]
    time_s = np.array([one["time_s"] for one in said], np.float64) if "time_s" in said[0] else None
    start_utc = parse_utc(said[0]["timestamp_utc"]) if "timestamp_utc" in said[0] else None
    if start_utc is not None and time_s is not None:
        start_utc -= timedelta(seconds=float(time_s[0]))
    track = Track(
        video_id=name,
        latlon_deg=np.array([[lat, lon] for (lon, lat, *_), _ in frames], np.float64),
        time_s=time_s,
        start_utc=start_utc,
        frame_index=np.array([one["frame"] for one in said], np.int64) if "frame" in said[0] else None,
    )
    return Localization(
        track=track,
        method=clip_says.get("method", ""),
        confidence=np.array([one["confidence"] for one in said], np.float64),
        radius_km=np.array([one["radius_km"] for one in said], np.float64),
        candidates_deg=np.array([[[c["lat_deg"], c["lon_deg"]] for c in row] for row in candidates]).reshape(-1, k, 2),
        candidate_scores=np.array([[c["probability"] for c in row] for row in candidates]).reshape(-1, k),
        places=tuple(one.get("place", "") for one in said) if "place" in said[0] else (),
        source=clip_says.get("source", ""),
        votes=votes.from_json(clip_says[votes.COLUMN], name) if votes.COLUMN in clip_says else None,
    )
