"""Georeferenced images as tiles: exact where no warping is needed, and near where a smooth image is warped."""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tilemaker import world_pixels

from vgeo.cli import run
from vgeo.errors import FormatError, InputError, MissingModelError, UsageError
from vgeo.formats.tile_store import open_tiles
from vgeo.geo.tiles import HALF_M, position, side_m, tile_of

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
LISBON = (38.72, -9.14)


def write(path: Path, bands: np.ndarray, crs: str | None, transform: Any, **more: Any) -> Path:
    """bands: [C, H, W]."""
    options = {"driver": "GTiff", "count": len(bands), "dtype": bands.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", height=bands.shape[1], width=bands.shape[2], **options, **more) as file:
        file.write(bands)
    return path


def on_the_grid(path: Path, zoom: int, tiles: int = 3, cut: int = 0, **more: Any) -> tuple[int, int]:
    """An image that the map's own pixels make up, `cut` of them missing on each side; returns its first tile."""
    x, y = tile_of(LISBON, zoom)
    left, top, side = x * 256 + cut, y * 256 + cut, 2 * HALF_M / 2**zoom / 256
    pixels = world_pixels(left, top, tiles * 256 - 2 * cut, tiles * 256 - 2 * cut)
    transform = rasterio.Affine(side, 0, left * side - HALF_M, 0, -side, HALF_M - top * side)
    write(path, np.moveaxis(pixels, -1, 0), "EPSG:3857", transform, photometric="RGB", **more)
    return x, y


def test_an_image_on_the_grid_comes_back_exactly(tmp_path: Path) -> None:
    x, y = on_the_grid(tmp_path / "a.tif", 19)
    before = hashlib.sha256((tmp_path / "a.tif").read_bytes()).digest()
    store = open_tiles(tmp_path / "a.tif")
    assert (store.zoom, store.size_px, store.attribution) == (19, 256, "")
    assert store.tiles() == sorted((x + i, y + j) for i in range(3) for j in range(3))
    for i, j in ((0, 0), (1, 1), (2, 0)):
        assert np.array_equal(store.read(x + i, y + j), world_pixels((x + i) * 256, (y + j) * 256, 256, 256))
    assert store.check(x, y) == before
    with pytest.raises(InputError, match="does not show tile 1_1 of zoom 19"):
        store.read(1, 1)
    assert hashlib.sha256((tmp_path / "a.tif").read_bytes()).digest() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_tiles_that_are_shown_in_part_do_not_count(tmp_path: Path) -> None:
    x, y = on_the_grid(tmp_path / "a.tif", 19, tiles=4, cut=100)
    assert open_tiles(tmp_path / "a.tif").tiles() == sorted((x + i, y + j) for i in (1, 2) for j in (1, 2))
    with pytest.raises(InputError, match=r"shows no whole tile of zoom 16; .* a larger --zoom"):
        open_tiles(tmp_path / "a.tif", 16)


def test_holes_without_data(tmp_path: Path) -> None:
    """A tile with a corner without data does not count."""
    x, y = on_the_grid(tmp_path / "a.tif", 19, nodata=255)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        bands = np.full((3, 60, 60), 255, np.uint8)
        file.write(bands, window=rasterio.windows.Window(256 + 200, 256 + 200, 60, 60))
    found = open_tiles(tmp_path / "a.tif").tiles()
    assert (x + 1, y + 1) not in found and (x, y) in found and (x + 2, y) in found


def test_holes_that_a_mask_says(tmp_path: Path) -> None:
    x, y = on_the_grid(tmp_path / "a.tif", 19)
    mask = np.full((768, 768), 255, np.uint8)
    mask[300:400, 300:400] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write_mask(mask)
    found = open_tiles(tmp_path / "a.tif").tiles()
    assert len(found) == 8 and (x + 1, y + 1) not in found


def test_another_zoom_is_shrunk(tmp_path: Path) -> None:
    on_the_grid(tmp_path / "a.tif", 19, tiles=8)
    store = open_tiles(tmp_path / "a.tif", 18)
    assert store.zoom == 18
    tile = store.tiles()[0]
    assert store.read(*tile).shape == (256, 256, 3)
    fine = open_tiles(tmp_path / "a.tif", 19)
    quarters = [[fine.read(2 * tile[0] + i, 2 * tile[1] + j) for i in (0, 1)] for j in (0, 1)]
    whole = np.concatenate([np.concatenate(row, axis=1) for row in quarters]).astype(float)
    means = whole.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.median(np.abs(store.read(*tile) - means)) < 2


def test_an_image_of_another_projection(tmp_path: Path) -> None:
    """UTM, turned against the map: a pixel's red and green say its own latitude and longitude."""
    from rasterio.warp import transform as project

    size, pixel_m = 900, 0.5
    (east,), (north,) = project("EPSG:4326", "EPSG:32629", [LISBON[1]], [LISBON[0]])
    transform = rasterio.Affine(pixel_m, 0, east, 0, -pixel_m, north)
    columns, rows = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    xs, ys = east + columns * pixel_m, north - rows * pixel_m
    lon, lat = (np.array(v).reshape(size, size) for v in project("EPSG:32629", "EPSG:4326", xs.ravel(), ys.ravel()))
    south, west = lat.min(), lon.min()
    red, green = (lat - south) / (lat.max() - south) * 250, (lon - west) / (lon.max() - west) * 250
    bands = np.stack([red, green, 0 * red]).round().astype(np.uint8)
    write(tmp_path / "utm.tif", bands, "EPSG:32629", transform, photometric="RGB")
    store = open_tiles(tmp_path / "utm.tif")
    assert 25 <= len(store.tiles()) <= (450 / side_m(LISBON[0], 19)) ** 2
    for x, y in store.tiles():
        pixels = store.read(x, y).astype(float)
        for column, row in ((3, 3), (128, 40), (250, 250)):
            at = position(x + (column + 0.5) / 256, y + (row + 0.5) / 256, 19)
            said = (
                south + pixels[row, column, 0] / 250 * (lat.max() - south),
                west + pixels[row, column, 1] / 250 * (lon.max() - west),
            )
            assert said[0] == pytest.approx(at[0], abs=0.7 / 250 * (lat.max() - south))
            assert said[1] == pytest.approx(at[1], abs=0.7 / 250 * (lon.max() - west))


def test_grey_and_four_bands(tmp_path: Path) -> None:
    x, y = on_the_grid(tmp_path / "rgb.tif", 19)
    with rasterio.open(tmp_path / "rgb.tif") as file:
        bands, transform = file.read(), file.transform
    write(tmp_path / "grey.tif", bands[:1], "EPSG:3857", transform)
    grey = open_tiles(tmp_path / "grey.tif").read(x, y)
    assert (grey == world_pixels(x * 256, y * 256, 256, 256)[..., :1]).all()
    clear = np.full_like(bands[:1], 255)
    clear[:, 256:300, 256:300] = 0
    write(tmp_path / "rgba.tif", np.concatenate([bands, clear]), "EPSG:3857", transform, photometric="RGB", alpha="yes")
    store = open_tiles(tmp_path / "rgba.tif")
    assert np.array_equal(store.read(x, y), world_pixels(x * 256, y * 256, 256, 256))
    assert not store.has(x + 1, y + 1)


def test_whose_it_is(tmp_path: Path) -> None:
    on_the_grid(tmp_path / "a.tif", 19)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.update_tags(TIFFTAG_COPYRIGHT="© the city")
    assert open_tiles(tmp_path / "a.tif").attribution == "© the city"


def test_threads_read_at_once(tmp_path: Path) -> None:
    on_the_grid(tmp_path / "a.tif", 19)
    store = open_tiles(tmp_path / "a.tif")
    tiles = store.tiles() * 6
    with ThreadPoolExecutor(6) as pool:
        for tile, found in zip(tiles, pool.map(lambda tile: store.read(*tile), tiles), strict=True):
            assert np.array_equal(found, world_pixels(tile[0] * 256, tile[1] * 256, 256, 256))


def test_images_that_will_not_do(tmp_path: Path) -> None:
    bands, degrees = np.zeros((3, 64, 64), np.uint8), rasterio.Affine(1e-5, 0, 10, 0, -1e-5, 50)
    cases = {
        "no crs": (write(tmp_path / "none.tif", bands, None, degrees), FormatError, r"no coordinate system.*-a_srs"),
        "16 bit": (
            write(tmp_path / "16.tif", bands.astype(np.uint16), "EPSG:4326", degrees),
            FormatError,
            "uint16, not bytes",
        ),
        "north": (
            write(tmp_path / "n.tif", bands, "EPSG:4326", rasterio.Affine(1e-5, 0, 10, 0, -1e-5, 88)),
            FormatError,
            r"outside the tiles of Web Mercator.*85\.0511",
        ),
        "huge": (
            write(tmp_path / "h.tif", bands, "EPSG:4326", rasterio.Affine(5, 0, -160, 0, -2, 80)),
            UsageError,
            "tiles of zoom 19; take a smaller --zoom",
        ),
    }
    (tmp_path / "text.tif").write_text("no image")
    cases["text"] = (tmp_path / "text.tif", FormatError, "not an image that can be read")
    for path, error, says in cases.values():
        with pytest.raises(error, match=says) as caught:
            open_tiles(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    on_the_grid(tmp_path / "a.tif", 19)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingModelError, match=r"need rasterio; pip install 'vgeo\[geotiff\]'"):
        open_tiles(tmp_path / "a.tif")
    code = run(["build-gallery", "aerial", str(tmp_path / "a.tif"), "--out", str(tmp_path / "g.h5")])
    out, err = capfd.readouterr()
    assert (code, out, err.count("\n")) == (69, "", 1)
    assert not (tmp_path / "g.h5").exists()


def test_an_image_that_names_other_files_is_refused(tmp_path: Path) -> None:
    """A VRT: GDAL would open whatever it names, addresses too."""
    on_the_grid(tmp_path / "a.tif", 19)
    from rasterio.shutil import copy

    copy(str(tmp_path / "a.tif"), str(tmp_path / "a.vrt"), driver="VRT")
    with rasterio.open(tmp_path / "a.vrt") as readable:
        assert readable.count == 3
    (tmp_path / "a.vrt").rename(tmp_path / "b.tif")
    with pytest.raises(FormatError, match=r"b\.tif: not an image that can be read"):
        open_tiles(tmp_path / "b.tif")
