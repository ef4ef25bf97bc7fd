"""Uniform grids over the regions where there are training positions (VidTAG, appendix D.1), or over given areas."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import InputError, UsageError
from vgeo.formats.areas import Area, read_areas
from vgeo.formats.gallery import Gallery
from vgeo.geo import cells
from vgeo.geo.grid import (
    Box,
    bounding_box,
    even_columns,
    even_latitudes,
    even_rows,
    fitting_spacing_km,
    grid,
    grid_axes,
    grid_shape,
)
from vgeo.geo.sphere import wrap_lon
from vgeo.logs import SILENT, Progress
from vgeo.stages.gallery_inputs import Source, read_places

log = logging.getLogger(__name__)

SPACING_KM = 0.1  # VidTAG, section 5.5 and table 5: MSLS; GAMa has 0.5
MARGIN_KM = 1.0  # VidTAG pads by a constant that it does not give; ours: twice its finest threshold, 0.5 km
MAX_POINTS = 5_000_000  # ours: their keys of 512 float32 take 10 GB
REGION_LEVEL = 10  # S2 cells of about 9 km: positions in neighbouring ones are one region
_LEVEL = 0.9  # ours: the paper's boxes are cities; where a parallel is narrower than so much of another, rows differ
_PROBES = 128  # along each side of a box, to estimate how much of it lies in an area
_CHUNK_POINTS = 2**20  # positions that are tested against the areas at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRules:
    """How a grid is laid (VidTAG, appendix D.1)."""

    spacing_km: float = SPACING_KM
    margin_km: float = MARGIN_KM
    trim_percent: float = 0.0  # of outliers left out at each edge of a region; the paper: "if there are a few"
    region_label: str | None = None  # a label whose values are the regions; None: positions are grouped by nearness
    min_points: int = 1  # a region of fewer training positions is left out; the paper: "a sizable amount"
    max_points: int = MAX_POINTS

    def __post_init__(self) -> None:
        if not (1e-6 <= self.spacing_km < math.inf):
            raise UsageError(f"--spacing-km {self.spacing_km:g}: must be more than 0, at least a millimetre")
        if not (0 <= self.margin_km < math.inf):
            raise UsageError(f"--margin-km {self.margin_km:g}: must be 0 or more")
        if not (0 <= self.trim_percent < 50):
            raise UsageError(f"--trim-percent {self.trim_percent:g}: must be at least 0 and below 50")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One box to be filled."""

    name: str
    box: Box
    areas: tuple[Area, ...] = ()  # only what lies in one of them; () is all of the box
    even: bool = False  # rows divided each on its own, not in the paper's common columns


def build_grid(
    inputs: Sequence[Source],
    rules: GridRules | None = None,
    *,
    within: Source | None = None,
    split: str | None = None,
    progress: Progress = SILENT,
) -> Gallery:
    """Lay a uniform grid over each region where the inputs have positions, or over an area.

    within: GeoJSON polygons that cut the grid; without inputs they are the regions, without margin, and since they may
    be as large as countries each row is divided on its own, so that the spacing holds everywhere. split: of the inputs'
    positions, as in `read_places`.
    Raises UsageError when the grid would hold more than `rules.max_points`, InputError when it would hold none.
    """
    rules = rules or GridRules()
    areas = tuple(read_areas(within)) if within is not None else ()
    if not inputs and not areas:
        raise UsageError("a grid needs inputs with positions, or --within AREA.geojson")
    places = read_places(inputs, split=split) if inputs else None
    regions = _training_regions(places, rules, areas) if places is not None else _area_regions(areas)
    _guard(regions, rules)
    progress.start("grid", total=len(regions), unit="regions")
    pieces = []
    for region in regions:
        pieces.append(_fill(region, rules.spacing_km))
        progress.advance()
    latlon = np.concatenate(pieces)
    if not len(latlon):
        raise InputError(f"{within}: no point of the grid lies in it; use a smaller --spacing-km or a larger area")
    labels = {}
    if rules.region_label is not None:
        names = np.array([*(region.name for region in regions), None], object)[:-1]
        labels[rules.region_label] = np.repeat(names, [len(piece) for piece in pieces])
    made: dict[str, Any] = {"kind": "grid", "regions": sum(len(piece) > 0 for piece in pieces)}
    made |= {"spacing_km": rules.spacing_km, "margin_km": rules.margin_km if inputs else 0.0}
    made |= {"area_km2": round(sum(region.box.area_km2 * _share(region, by_area=True) for region in regions), 3)}
    return Gallery(latlon_deg=latlon, labels=labels, attributes=made)


def _training_regions(training: Gallery, rules: GridRules, areas: tuple[Area, ...]) -> list[Region]:
    """A box around each region's positions, padded. Raises InputError where no region has enough of them."""
    of_row, names = _group(training, rules.region_label)
    regions, dropped = [], 0
    for number, name in enumerate(names):
        rows = np.flatnonzero(of_row == number)
        if name == "":  # rows without a value of the label belong nowhere
            log.warning("%d positions without a value of %r are left out", len(rows), rules.region_label)
            continue
        if len(rows) < rules.min_points:
            dropped += 1
            continue
        box = bounding_box(training.latlon_deg[rows], rules.trim_percent).padded(rules.margin_km)
        regions.append(Region(name=name, box=box, areas=areas, even=box.narrowing < _LEVEL))
    if dropped:
        log.info("%d of %d regions left out: fewer than %d positions", dropped, len(names), rules.min_points)
    if not regions:
        raise InputError(f"no region has {rules.min_points} positions; lower --min-points")
    return regions


def _group(training: Gallery, label: str | None) -> tuple[NDArray[np.int64], list[str]]:
    """Number of each row's region, and the regions' names."""
    if label is None:
        of_row = cells.group(training.latlon_deg, REGION_LEVEL)
        return of_row, [str(number) for number in range(1, int(of_row.max()) + 2)]
    if label not in training.labels:
        known = ", ".join(training.labels) or "none"
        raise InputError(f"the inputs have no label {label!r} to make regions of; they have {known}")
    names, of_row = np.unique(training.labels[label].astype(str), return_inverse=True)
    return of_row, names.tolist()


def _area_regions(areas: tuple[Area, ...]) -> list[Region]:
    return [Region(name=str(number), box=area.box, areas=(area,), even=True) for number, area in enumerate(areas, 1)]


def _guard(regions: Sequence[Region], rules: GridRules) -> None:
    """Raise UsageError for a grid of absurd size, with the spacing that would do."""
    shares = [1.0] * len(regions)  # of each box that is filled
    if _count(regions, shares, rules.spacing_km) > rules.max_points:
        shares = [_share(region, by_area=region.even) for region in regions]
    count = _count(regions, shares, rules.spacing_km)
    if count <= rules.max_points:
        return
    fitting = fitting_spacing_km(lambda km: _count(regions, shares, km), rules.spacing_km, rules.max_points)
    raise UsageError(
        f"the grid would hold {count:,.0f} points, more than --max-points {rules.max_points:,}; "
        f"--spacing-km {fitting:g} would fit, as would fewer or smaller regions (--trim-percent, --margin-km, --within)"
    )


def _count(regions: Sequence[Region], shares: Sequence[float], spacing_km: float) -> float:
    """Points that the regions' grids will hold, exact where nothing is cut away."""
    total = 0.0
    for region, share in zip(regions, shares, strict=True):
        rows, columns = grid_shape(region.box, spacing_km)
        if region.even:
            middle = np.linspace(region.box.south_deg, region.box.north_deg, min(rows, _PROBES))
            columns = even_columns(region.box, middle, spacing_km).mean()
        total += share * rows * columns
    return total


def _share(region: Region, by_area: bool) -> float:
    """Share of a region's box that lies in its areas, in degrees or in square kilometres, by a coarse probe."""
    if not region.areas:
        return 1.0
    box = region.box
    middle = (np.arange(_PROBES) + 0.5) / _PROBES
    lat = np.repeat(box.south_deg + middle * (box.north_deg - box.south_deg), _PROBES)
    lon = np.tile(wrap_lon(box.west_deg + middle * box.width_deg), _PROBES)
    weights = np.cos(np.radians(lat)) if by_area else np.ones_like(lat)
    return float(np.average(_inside(np.stack([lat, lon], axis=1), region.areas), weights=weights))


def _inside(latlon_deg: NDArray[np.float64], areas: Sequence[Area]) -> NDArray[np.bool_]:
    inside = np.zeros(len(latlon_deg), bool)
    for area in areas:
        inside |= area.contains(latlon_deg)
    return inside


def _fill(region: Region, spacing_km: float) -> NDArray[np.float64]:
    """The grid of a region, cut by its areas."""
    if not region.areas and not region.even:
        return grid(region.box, spacing_km)
    lat, lon = grid_axes(region.box, spacing_km)
    if region.even:
        lat = even_latitudes(region.box, spacing_km)
    widest = max(len(lon), int(even_columns(region.box, lat, spacing_km).max()))
    step = max(1, _CHUNK_POINTS // widest)
    pieces = []
    for start in range(0, len(lat), step):
        rows = lat[start : start + step]
        if region.even:
            points = even_rows(region.box, rows, spacing_km)
        else:
            points = np.stack([np.repeat(rows, len(lon)), np.tile(lon, len(rows))], axis=1)
        pieces.append(points[_inside(points, region.areas)] if region.areas else points)
    return np.concatenate(pieces)
