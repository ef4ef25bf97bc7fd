"""Training towards city centres: every frame of a clip is where its city's row of the gallery is (VidTAG, section 5.3).

CityGuessr68k knows a clip's city and no positions; with this, a method that learns positions learns cities.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery
from vgeo.geo.city_names import city_key
from vgeo.geo.names import country_key, fold

log = logging.getLogger(__name__)

At = Literal["own", "city", "either"]  # own positions; the city's; own ones, and the city's for clips without any
_LEVELS = ("city", "state", "country")
_Names = tuple[str, ...]


def at_centres(files: Sequence[FeatureFile], gallery: Gallery, how: At) -> list[FeatureFile]:
    """The files with their frames' positions replaced: those of clips outside the gallery's cities are unknown.

    A clip's city is found by its labels: the same city, the same country where both name one, and of several such rows
    those of the same state.
    how: "city" moves every clip; "either" those without a position of their own. Clips left without one are counted
    and their cities named. Raises InputError for a gallery without cities, FormatError for files without them.
    """
    if "city" not in gallery.labels:
        raise InputError("the gallery names no cities to train towards; make one with 'vgeo build-gallery cities'")
    rows = defaultdict(list)
    for row, city in enumerate(gallery.labels["city"]):
        rows[city_key(city)].append(row)
    moved, lost = [], Counter[str]()
    for file in files:
        if "city" not in file.labels and how == "city":
            raise FormatError(f"{file.path}: its clips carry no label 'city', which says where they are with --at city")
        moved.append(_moved(file, gallery, rows, how, lost))
    if how == "city" and files and not any(np.isfinite(file.latlon_deg).any() for file in moved):
        raise FormatError(f"no clip lies in a city of the gallery, but in {_most(lost)}; build one of these cities")
    if lost:
        log.warning("%d clips have no city in the gallery and are left out: %s", sum(lost.values()), _most(lost))
    return moved


def _moved(file: FeatureFile, gallery: Gallery, rows: dict[str, list[int]], how: At, lost: Counter[str]) -> FeatureFile:
    columns = [file.labels.get(level, [""] * len(file.video_ids)) for level in _LEVELS]
    latlon_deg = np.array(file.latlon_deg, np.float64)
    known: dict[_Names, NDArray[np.float64] | None] = {}
    for video, names in enumerate(zip(*columns, strict=True)):
        part = file.rows(video)
        if how == "either" and np.isfinite(latlon_deg[part]).all(axis=1).any():
            continue
        if names not in known:
            known[names] = _centre(names, gallery, rows.get(city_key(names[0]), ()) if names[0] else ())
        centre = known[names]
        latlon_deg[part] = np.nan if centre is None else centre
        if centre is None:
            lost[", ".join(name for name in names if name) or "no label"] += 1
    return replace(file, latlon_deg=latlon_deg)


def _centre(names: _Names, gallery: Gallery, rows: Sequence[int]) -> NDArray[np.float64] | None:
    """Position of the one place that the labels mean; None when there is none, or more than one."""
    _, state, country = names
    rows = [row for row in rows if _agree(country_key, country, gallery, "country", row)]
    rows = [row for row in rows if _agree(fold, state, gallery, "state", row)] if len(rows) > 1 else rows
    places = np.unique(gallery.latlon_deg[rows], axis=0)
    return places[0] if len(places) == 1 else None


def _agree(key: Callable[[str], str], name: str, gallery: Gallery, level: str, row: int) -> bool:
    """Whether a clip's name and a row's are one name, or one of them is not known."""
    other = str(gallery.labels[level][row]) if level in gallery.labels else ""
    return not name or not other or key(name) == key(other)


def _most(lost: Counter[str]) -> str:
    texts = [f"{name} ({count})" for name, count in lost.most_common(8)]
    return ", ".join(texts) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")
