"""One self-contained HTML page with the tracks on a map: it asks nothing of any server, and works from a file.

The page is map.html beside this file. The data are put into it as JSON, in which `<`, `>` and `&` are escaped, and the
page's script sets text only as text: names from strangers' files cannot become markup.
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import InputError
from vgeo.formats.streams import write_output
from vgeo.geo import sphere
from vgeo.records import Localization, PlaceVotes, Track, format_utc
from vgeo.reports.joining import middle, truth_at
from vgeo.reports.map_tiles import MapTiles

Floats = NDArray[np.float64]

SLOT = "/*DATA*/"


def write_map(
    path: str | Path,
    localizations: Sequence[Localization],
    truth: Sequence[Track] = (),
    *,
    reference: Sequence[Track] = (),
    tiles: MapTiles | None = None,
    title: str = "Where the clips were filmed",
) -> None:
    """Write the page to `path` (`-` is stdout), with aerial pictures under the tracks where `tiles` has some.

    Raises InputError when there is nothing to show.
    """
    localizations = [said for said in localizations if len(said.track)]
    if not localizations:
        raise InputError(f"{path}: no predictions to show")
    clips = [_clip(said, truth_at(said, truth)) for said in localizations]
    under = [_positions(track.latlon_deg) for track in reference]
    shown = None if tiles is None else tiles.packed()
    data = {"title": title, "land": _land(), "clips": clips, "reference": under, "tiles": shown}
    write_output(path, page(data))


def _land() -> list[list[int]]:
    """Coastlines as rings of lat, lon, lat, ... in tenths of a degree (Natural Earth 1:110m, public domain, taken from
    the npm package world-atlas 2)."""
    rings: list[list[int]] = json.loads(files("vgeo.reports").joinpath("land.json").read_text(encoding="utf-8"))
    return rings


def page(data: dict[str, Any]) -> str:
    """Put data into the page."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    template = files("vgeo.reports").joinpath("map.html").read_text(encoding="utf-8")
    before, after = template.split(SLOT)
    return f"{before}{text}{after}"


def _clip(said: Localization, truth_deg: Floats) -> dict[str, Any]:
    """One clip's data; lists run over its frames, and what is unknown is null."""
    track = said.track
    # Longitudes run on across the antimeridian around the clip, so that no line crosses the whole map.
    centre = float(middle(said, truth_deg)[1])
    known = ~np.isnan(truth_deg[:, 0])
    errors = np.full(len(track), np.nan)
    errors[known] = sphere.distance_km(track.latlon_deg[known], truth_deg[known])
    times = track.timestamps_utc()
    return {
        "id": track.video_id,
        "method": said.method,
        "frame": None if track.frame_index is None else track.frame_index.tolist(),
        "time_s": None if track.time_s is None else np.round(track.time_s, 3).tolist(),
        "utc": None if times is None else [format_utc(time) for time in times],
        "at": _positions(track.latlon_deg, centre),
        "true": [position if has else None for position, has in zip(_positions(truth_deg, centre), known, strict=True)],
        "error_km": [round(float(km), 4) if has else None for km, has in zip(errors, known, strict=True)],
        "confidence": np.round(said.confidence, 4).tolist(),
        "radius_km": np.round(said.radius_km, 4).tolist(),
        "candidates": [_positions(row, centre) for row in said.candidates_deg],
        "scores": np.round(said.candidate_scores, 4).tolist(),
        "place": list(said.places) or None,
        "city": None if said.votes is None else _voted(said.votes),
    }


def _voted(votes: PlaceVotes) -> str:
    """The answer and two runners-up: Lisbon, Portugal (80% of frames); Singapore (20% of frames)."""
    texts = []
    for vote in votes.ranking[0]:
        name = ", ".join(dict.fromkeys(name for name in vote.labels.from_level(0)[:3] if name))
        texts.append(f"{name} ({vote.share:.0%} of frames)")
    return "; ".join(texts[:3])


def _positions(latlon_deg: Floats, centre_lon_deg: float | None = None) -> list[list[float]]:
    """Positions [N, 2] as lists, 6 decimals (11 cm)."""
    lat, lon = latlon_deg[:, 0], latlon_deg[:, 1]
    if centre_lon_deg is not None:
        lon = centre_lon_deg + sphere.wrap_lon(lon - centre_lon_deg)
    return np.round(np.nan_to_num(np.stack([lat, lon], axis=-1)), 6).tolist()
