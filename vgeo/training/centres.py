"""Training towards city centres: every frame of a clip is where its city's row of the gallery is (VidTAG, section 5.3).

CityGuessr68k knows a clip's city and no positions; with this, a method that learns positions learns cities.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from vgeo.errors import FormatError, InputError
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery
from vgeo.geo.city_names import city_key
from vgeo.geo.names import country_key, fold

log = logging.getLogger(__name__)

At = Literal["own", "city", "either"]  # own positions; the city's; own ones, and the city's for clips without any
LEVELS = ("city", "state", "country")  # that tell a city from others
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
    cities = CityRows(gallery)
    moved, lost = [], Counter[str]()
    for file in files:
        if "city" not in file.labels and how == "city":
            raise FormatError(f"{file.path}: its clips carry no label 'city', which says where they are with --at city")
        moved.append(_moved(file, cities, how, lost))
    if how == "city" and files and not any(np.isfinite(file.latlon_deg).any() for file in moved):
        raise FormatError(f"no clip lies in a city of the gallery, but in {_most(lost)}; build one of these cities")
    if lost:
        log.warning("%d clips have no city in the gallery and are left out: %s", sum(lost.values()), _most(lost))
    return moved


def _moved(file: FeatureFile, cities: "CityRows", how: At, lost: Counter[str]) -> FeatureFile:
    columns = [file.labels.get(level, [""] * len(file.video_ids)) for level in LEVELS]
    latlon_deg = np.array(file.latlon_deg, np.float64)
    for video, names in enumerate(zip(*columns, strict=True)):
        part = file.rows(video)
        if how == "either" and np.isfinite(latlon_deg[part]).all(axis=1).any():
            continue
        row = cities.row(names)
        latlon_deg[part] = np.nan if row is None else cities.gallery.latlon_deg[row]
        if row is None:
            lost[", ".join(name for name in names if name) or "no label"] += 1
    return replace(file, latlon_deg=latlon_deg)


class CityRows:
    """The rows of a gallery by the names of cities."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self._of_key = defaultdict[str, list[int]](list)
        for row, city in enumerate(gallery.labels["city"]):
            self._of_key[city_key(city)].append(row)
        self._found: dict[_Names, int | None] = {}

    def row(self, names: _Names) -> int | None:
        """The row of the one place that city, state and country mean; None when there is none, or more than one."""
        if names not in self._found:
            self._found[names] = self._search(names)
        return self._found[names]

    def _search(self, names: _Names) -> int | None:
        city, state, country = names
        rows = self._of_key.get(city_key(city), []) if city else []
        rows = [row for row in rows if self._agree(country_key, country, "country", row)]
        rows = [row for row in rows if self._agree(fold, state, "state", row)] if len(rows) > 1 else rows
        places = np.unique(self.gallery.latlon_deg[rows], axis=0)
        return rows[0] if len(places) == 1 else None

    def _agree(self, key: Callable[[str], str], name: str, level: str, row: int) -> bool:
        """Whether a clip's name and a row's are one name, or one of them is not known."""
        column = self.gallery.labels.get(level)
        other = "" if column is None else str(column[row])
        return not name or not other or key(name) == key(other)


def _most(lost: Counter[str]) -> str:
    texts = [f"{name} ({count})" for name, count in lost.most_common(8)]
    return ", ".join(texts) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")
