"""Polygons as areas."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from vgeo.errors import FormatError
from vgeo.formats.areas import read_areas


def write(path: Path, geometry: object) -> Path:
    path.write_text(json.dumps(geometry))
    return path


def ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def test_holes_edges_and_parts(tmp_path: Path) -> None:
    polygon = {"type": "Polygon", "coordinates": [ring(10, 50, 20, 60), ring(14, 54, 16, 56)]}
    islands = {"type": "MultiPolygon", "coordinates": [[ring(0, 0, 1, 1)], [ring(5, 5, 6, 6)]]}
    features = [{"type": "Feature", "geometry": geometry, "properties": None} for geometry in (polygon, islands)]
    areas = read_areas(write(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": features}))
    assert len(areas) == 3
    inside = areas[0].contains([[52, 12], [55, 15], [50, 10], [61, 12], [12, 52]])
    assert inside.tolist() == [True, False, True, False, False]
    assert (areas[0].box.south_deg, areas[0].box.west_deg, areas[0].box.width_deg) == (50, 10, 10)


def test_an_area_may_run_past_the_antimeridian(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", {"type": "Polygon", "coordinates": [ring(177, -20, 182, -15)]})
    (area,) = read_areas(path)
    assert area.contains([[-17, 178], [-17, -179], [-17, -177], [-17, 176]]).tolist() == [True, True, False, False]
    assert (area.box.west_deg, area.box.width_deg) == (177, 5)
    (area,) = read_areas(write(path, {"type": "Polygon", "coordinates": [ring(-183, -20, -178, -15)]}))
    assert area.contains([[-17, 178], [-17, -179]]).tolist() == [True, True]


def test_a_bow_tie_is_mended(tmp_path: Path) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    areas = read_areas(write(tmp_path / "a.geojson", bow))
    found = np.any([area.contains([[1, 0.5], [1, 1.5], [0.2, 1]]) for area in areas], axis=0)
    assert found.tolist() == [True, True, False]


def test_countries_of_the_world(shared_dir: Path, tmp_path: Path) -> None:
    packed = shared_dir / "data/natural-earth-110m/ne_110m_admin_0_countries.geojson.gz"
    path = tmp_path / "countries.geojson"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    areas = read_areas(path)
    assert len(areas) > 177
    for place, land in (([46.5, 2.5], True), ([-25, 134], True), ([0, -30], False), ([40, -40], False)):
        assert any(area.contains([place])[0] for area in areas) == land


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"type": "FeatureCollection", "features": []},
        {"type": "FeatureCollection", "features": 3},
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [1, 0], ["a", 0]]]},
        {"type": "Polygon", "coordinates": 7},
        {"type": "Polygon", "coordinates": [ring(0, 0, 1, 95)]},
        {"type": "Polygon", "coordinates": [ring(0, 0, 1e9, 1)]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]},
        {"type": "Feature", "geometry": None},
    ],
)
def test_hostile_areas(tmp_path: Path, value: object) -> None:
    with pytest.raises(FormatError):
        read_areas(write(tmp_path / "a.geojson", value))
