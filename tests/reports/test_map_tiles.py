"""Pictures under the tracks of the page: which are chosen, where they lie, and that the page stays small and alone."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import mercantile
import numpy as np
import pytest
from numpy.typing import ArrayLike
from PIL import Image

from vgeo.formats.gallery import Gallery
from vgeo.formats.tile_pictures import gallery_of_files
from vgeo.records import Localization, Track
from vgeo.reports.map import write_map
from vgeo.reports.map_tiles import tiles_under

ZOOM, X, Y = 19, 249_000, 200_000
NASTY = "</script><img src=x onerror=alert(1)> (c) Ex & Co"


def middle(x: float, y: float) -> tuple[float, float]:
    side = mercantile.CE / 2**ZOOM
    at = mercantile.lnglat((x + 0.5) * side - mercantile.CE / 2, mercantile.CE / 2 - (y + 0.5) * side)
    return at.lat, at.lng


def gallery(folder: Path, at: list[tuple[float, float]], attribution: str = "(c) Test") -> Gallery:
    """Tiles of one colour each; at: x and y, whole or not."""
    folder.mkdir(exist_ok=True)
    for n in range(len(at)):
        Image.new("RGB", (256, 256), (4 * n % 256, 30 * (n // 64), 99)).save(folder / f"{n}.png")
    return gallery_of_files(
        folder,
        [f"{n}.png" for n in range(len(at))],
        [f"t{n}" for n in range(len(at))],
        [middle(x, y) for x, y in at],
        attribution=attribution,
    )


def said(*candidates: ArrayLike) -> Localization:
    """One clip; its answers are the first candidates [T, 2]."""
    ranked = np.stack([np.asarray(places, float) for places in candidates], axis=1)
    frames = len(ranked)
    return Localization(
        track=Track(video_id="a", latlon_deg=ranked[:, 0], time_s=np.arange(float(frames))),
        method="gama",
        confidence=np.full(frames, 0.5),
        radius_km=np.full(frames, 0.1),
        candidates_deg=ranked,
        candidate_scores=np.tile(np.linspace(0.5, 0.1, ranked.shape[1]), (frames, 1)),
    )


def red(jpeg: bytes) -> int:
    """What says which of the tiles it is."""
    return round(float(np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))[..., 0].mean()) / 4)


def test_answers_come_first_then_runners_up(tmp_path: Path) -> None:
    tiles = gallery(tmp_path / "t", [(X + n, Y) for n in range(0, 200, 20)])
    at = tiles.latlon_deg
    found = tiles_under([said(at[[3, 3, 5]], at[[7, 8, 8]], at[[0, 0, 0]])], tiles)
    assert found is not None
    assert [red(tile.jpeg) for tile in found.tiles] == [3, 5, 7, 8, 0]
    assert found.answers == 2 and found.left_out == 0 and found.attribution == "(c) Test"


def test_a_picture_lies_where_its_tile_does(tmp_path: Path) -> None:
    tiles = gallery(tmp_path / "t", [(X, Y), (X + 2, Y + 0.5)])
    found = tiles_under([said(tiles.latlon_deg)], tiles)
    assert found is not None
    whole, crop = found.tiles
    box = mercantile.bounds(X, Y, ZOOM)
    shown = (whole.south_deg, whole.west_deg, whole.north_deg, whole.east_deg)
    assert shown == pytest.approx((box.south, box.west, box.north, box.east), abs=1e-9)
    assert (crop.north_deg, crop.south_deg) == pytest.approx(
        (middle(X, Y)[0], middle(X, Y + 1)[0]), abs=1e-9
    )  # half a tile further south
    assert Image.open(io.BytesIO(whole.jpeg)).size == (128, 128)


def test_crops_that_show_the_same_are_drawn_once(tmp_path: Path) -> None:
    tiles = gallery(tmp_path / "t", [(X + n / 10, Y) for n in range(21)])  # every 6 m over two tiles' sides
    found = tiles_under([said(tiles.latlon_deg)], tiles)
    assert found is not None and 5 <= len(found.tiles) <= 6
    west = [tile.west_deg for tile in found.tiles]
    assert np.diff(west).max() < 0.45 * 360 / 2**ZOOM  # and nothing is left bare


def test_too_many_are_chosen_evenly_and_counted(tmp_path: Path) -> None:
    tiles = gallery(tmp_path / "t", [(X + n, Y) for n in range(50)])
    found = tiles_under([said(tiles.latlon_deg, tiles.latlon_deg[::-1])], tiles, most=10)
    assert found is not None and len(found.tiles) == found.answers == 10 and found.left_out == 40
    picks = [red(tile.jpeg) for tile in found.tiles]
    assert picks[0] == 0 and picks[-1] == 49 and set(np.diff(picks)) <= {5, 6}
    assert "40 more tiles are not shown" in str(found.packed()["note"])


def test_places_off_the_gallery_have_no_picture(tmp_path: Path) -> None:
    tiles = gallery(tmp_path / "t", [(X, Y)])
    for off, pictures in ((0, 1), (0.4, 1), (0.7, 0), (2, 0)):
        for place in (middle(X + off, Y), middle(X, Y - off)):
            found = tiles_under([said([place, (10.0, 10.0)])], tiles)
            assert found is not None and len(found.tiles) == pictures


def test_around_the_antimeridian(tmp_path: Path) -> None:
    last = 2**ZOOM - 1
    tiles = gallery(tmp_path / "t", [(last + 0.3, Y), (0, Y + 3)])
    found = tiles_under([said(tiles.latlon_deg)], tiles)
    assert found is not None and len(found.tiles) == 2
    assert all(0 < tile.east_deg - tile.west_deg < 0.001 for tile in found.tiles)


def test_galleries_of_other_things_have_no_tiles(tmp_path: Path) -> None:
    points = Gallery(latlon_deg=np.array([[1.0, 2.0]]), attributes={"kind": "points"})
    assert tiles_under([said([(1.0, 2.0)])], points) is None


def test_pictures_that_are_gone_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiles = gallery(tmp_path / "t", [(X, Y), (X + 2, Y)])
    (tmp_path / "t" / "0.png").unlink()
    found = tiles_under([said(tiles.latlon_deg)], tiles)
    assert found is not None and len(found.tiles) == found.answers == 1 and "lacks 1 tiles" in caplog.text
    broken = replace(tiles, attributes=tiles.attributes | {"pictures": {"from": "files", "path": "/nowhere/at/all"}})
    nothing = tiles_under([said(tiles.latlon_deg)], broken)
    assert nothing is None or not nothing.tiles


def test_the_page_holds_them_and_stays_alone(tmp_path: Path) -> None:
    tiles = gallery(tmp_path / "t", [(X + n % 20, Y + n // 20) for n in range(400)], NASTY)
    found = tiles_under([said(tiles.latlon_deg)], tiles)
    write_map(tmp_path / "map.html", [said(tiles.latlon_deg)], tiles=found)
    text = (tmp_path / "map.html").read_text()
    assert len(text) < 4_000_000
    assert "img-src data:;" in text and NASTY not in text
    assert not re.search(r"https?:|fetch\(|innerHTML", text)
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert len(data["tiles"]["list"]) == data["tiles"]["answers"] == 300
    assert data["tiles"]["note"] == f"{NASTY}; 100 more tiles are not shown"
    south, west, north, east, uri = data["tiles"]["list"][0]
    assert south < north and west < east and uri.startswith("data:image/jpeg;base64,/9j/")
    assert red(base64.b64decode(uri.split(",")[1])) == 0
    write_map(tmp_path / "plain.html", [said(tiles.latlon_deg)])
    assert '"tiles":null' in (tmp_path / "plain.html").read_text()
