"""Which tiles cover polygons, boxes, tracks and frames."""

import json
from pathlib import Path

import mercantile
import numpy as np
import pytest
import shapely

from vgeo.errors import InputError, UsageError
from vgeo.stages.tile_areas import covering, read_box

TRIANGLE = [[-9.15, 38.70], [-9.13, 38.71], [-9.14, 38.73], [-9.15, 38.70]]


def tiles(found: np.ndarray) -> set[tuple[int, int]]:
    return {(int(x), int(y)) for x, y in found}


def write(path: Path, geometry: object) -> Path:
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    return path


def test_a_polygon_against_every_tile_of_its_box(tmp_path: Path) -> None:
    area = write(tmp_path / "area.geojson", {"type": "Polygon", "coordinates": [TRIANGLE]})
    polygon = shapely.Polygon(TRIANGLE)
    expected = {
        (tile.x, tile.y)
        for tile in mercantile.tiles(*polygon.bounds, zooms=17)
        if polygon.intersects(shapely.box(*mercantile.bounds(tile)))
    }
    assert tiles(covering([area], 17, across=0)) == expected and len(expected) > 50


def test_every_crop_in_a_polygon_is_covered(tmp_path: Path) -> None:
    area = write(tmp_path / "area.geojson", {"type": "MultiPolygon", "coordinates": [[TRIANGLE]]})
    found = tiles(covering([area], 17, margin_m=30))
    rng = np.random.default_rng(0)
    points = [rng.dirichlet((1, 1, 1)) @ np.array(TRIANGLE[:3]) for _ in range(300)]
    half = 0.5 + 30 / (305.75 * np.cos(np.radians(38.715)))  # tiles; one is 305.75 m at the equator
    side = mercantile.CE / 2**17
    for lon, lat in [*points, *TRIANGLE]:
        east, north = mercantile.xy(lon, lat)
        for dx, dy in ((-half, -half), (half, -half), (-half, half), (half, half)):
            corner = mercantile.lnglat(east + dx * side, north + dy * side)
            assert mercantile.tile(*corner, 17)[:2] in found


def test_a_hole_is_left_out(tmp_path: Path) -> None:
    outer, inner = (
        [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]],
        [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9], [0.1, 0.1]],
    )
    whole = covering([write(tmp_path / "a.geojson", {"type": "Polygon", "coordinates": [outer]})], 12, across=0)
    holed = covering([write(tmp_path / "b.geojson", {"type": "Polygon", "coordinates": [outer, inner]})], 12, across=0)
    hole = shapely.Polygon(inner)
    inside = {at for at in tiles(whole) if hole.contains(shapely.box(*mercantile.bounds(*at, 12)))}
    assert tiles(holed) == tiles(whole) - inside and len(inside) == 64


def test_boxes(tmp_path: Path) -> None:
    box = tuple(mercantile.bounds(154_000, 197_000, 19))
    assert tiles(covering([], 19, bbox=box, across=0)) == {(154_000, 197_000)}  # its neighbours are only touched
    assert len(covering([], 19, bbox=box)) == 9
    across = covering([], 10, bbox=(179.9, -0.1, -179.9, 0.1), across=0)
    assert tiles(across) == {(1023, 511), (1023, 512), (0, 511), (0, 512)}
    wrapped = write(
        tmp_path / "pacific.geojson",
        {"type": "Polygon", "coordinates": [[[179.9, -0.1], [180.1, -0.1], [180.1, 0.1], [179.9, 0.1], [179.9, -0.1]]]},
    )
    assert tiles(covering([wrapped], 10, across=0)) == tiles(across)
    assert read_box("179.9,-0.1,-179.9,0.1") == (179.9, -0.1, -179.9, 0.1)


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,5,1,5", "0,-91,1,1", "0,0,181,1", "1,0,1,1", "0,nan,1,1", ""])
def test_what_is_no_box(text: str) -> None:
    with pytest.raises(UsageError, match="--bbox"):
        read_box(text)


def test_tracks_and_frames_together(tmp_path: Path) -> None:
    line = write(tmp_path / "track.geojson", {"type": "LineString", "coordinates": [[-9.15, 38.7], [-9.14, 38.7]]})
    frames = tmp_path / "frames"
    frames.mkdir()
    record = {"video_id": "a", "path": "a/0.jpg", "frame_index": 0, "time_s": 0.0, "lat_deg": 10.0, "lon_deg": 20.0}
    record["labels"] = {"split": "val"}
    (frames / "frames.jsonl").write_text(json.dumps(record) + "\n")
    found = tiles(covering([line, frames], 19, across=0))
    expected = {mercantile.tile(*at, 19)[:2] for at in ((-9.15, 38.7), (-9.14, 38.7), (20.0, 10.0))}
    assert found == expected


def test_positions_off_the_map_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = tmp_path / "points.csv"
    points.write_text("lat_deg,lon_deg\n88,1\n10,1\n")
    assert len(covering([points], 19, across=0)) == 1
    assert "1 of 2 positions lie outside Web Mercator" in caplog.text
    points.write_text("lat_deg,lon_deg\n88,1\n-86,1\n")
    with pytest.raises(InputError, match="no tile of Web Mercator"):
        covering([points], 19)
    with pytest.raises(InputError, match="lies outside Web Mercator"):
        covering([], 19, bbox=(0, 86, 1, 87))


def test_what_cannot_be_covered(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="around what"):
        covering([], 19)
    with pytest.raises(UsageError, match=r"some [0-9,]+ tiles would cover that"):
        covering([], 19, bbox=(-10, -10, 10, 10))
    with pytest.raises(UsageError, match="zoom 25"):
        covering([], 25, bbox=(0, 0, 1, 1))
    with pytest.raises(UsageError, match="--margin-m"):
        covering([], 19, bbox=(0, 0, 1, 1), margin_m=float("nan"))
    with pytest.raises(InputError, match="no such file"):
        covering([tmp_path / "missing.gpx"], 19)
