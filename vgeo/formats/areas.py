"""Areas on the Earth from GeoJSON polygons, such as a city's or a country's outline.

Inside this file x is the longitude and y the latitude, as in GeoJSON and shapely.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from vgeo.errors import FormatError
from vgeo.formats.streams import parse_json, read_text
from vgeo.geo.grid import Box
from vgeo.geo.sphere import wrap_lon

_BROKEN = (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Area:
    """One polygon, holes allowed. Its longitudes may run past ±180 degrees, as some files write the antimeridian."""

    polygon: BaseGeometry

    @property
    def box(self) -> Box:
        """The box around it."""
        west, south, east, north = self.polygon.bounds
        width = min(east - west, 360.0)
        return Box(south_deg=south, north_deg=north, west_deg=float(wrap_lon(west)), width_deg=width)

    def contains(self, latlon_deg: ArrayLike) -> NDArray[np.bool_]:
        """True for the positions [N, 2] in it or on its edge."""
        lat, lon = np.moveaxis(np.asarray(latlon_deg, np.float64), -1, 0)
        west, south, east, north = self.polygon.bounds
        inside = np.zeros(lat.shape, bool)
        for turn in (-360, 0, 360):
            near = (lat >= south) & (lat <= north) & (lon + turn >= west) & (lon + turn <= east)
            if near.any():
                inside[near] |= shapely.intersects_xy(self.polygon, lon[near] + turn, lat[near])
        return inside


def read_areas(path: str | os.PathLike[str]) -> list[Area]:
    """Read the polygons of a GeoJSON file, one Area for each part. Raises InputError, FormatError."""
    areas = []
    for number, geometry in enumerate(_geometries(parse_json(read_text(path), path), path), 1):
        where = f"{path}: geometry {number}"
        if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
            kind = geometry.get("type") if isinstance(geometry, dict) else None
            raise FormatError(f"{where} is {kind or 'nothing'}; an area is a Polygon or a MultiPolygon")
        try:
            whole = shapely.make_valid(shapely.force_2d(shape(geometry)))
        except _BROKEN as error:
            raise FormatError(f"{where} is not a polygon ({str(error)[:80] or type(error).__name__})") from error
        parts = [part for part in shapely.get_parts(whole) if part.geom_type in ("Polygon", "MultiPolygon")]
        for part in shapely.get_parts(np.array(parts, object)):
            areas.append(Area(_checked(part, where)))
    if not areas:
        raise FormatError(f"{path}: holds no polygon")
    return areas


def _geometries(value: Any, where: str | os.PathLike[str]) -> Iterator[Any]:
    """Geometries of a FeatureCollection, a Feature, a GeometryCollection or a bare geometry."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("FeatureCollection", "GeometryCollection"):
        members = value.get("features" if kind == "FeatureCollection" else "geometries")
        if not isinstance(members, list):
            raise FormatError(f"{where}: a {kind} without members")
        for member in members:
            yield from _geometries(member, where)
    elif kind == "Feature":
        yield from _geometries(value.get("geometry"), where)
    else:
        yield value


def _checked(polygon: BaseGeometry, where: str) -> BaseGeometry:
    bounds = np.array(polygon.bounds)
    if not np.isfinite(bounds).all() or (np.abs(bounds[[0, 2]]) > 360).any() or (np.abs(bounds[[1, 3]]) > 90).any():
        raise FormatError(f"{where}: leaves the Earth: longitude, latitude {bounds.tolist()}")
    shapely.prepare(polygon)
    return polygon
