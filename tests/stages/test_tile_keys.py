"""Keys of galleries of tiles: of the right pictures, made once, and going on after a kill."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tilemaker import SIZE, square, tile_pixels, write_tiles
from torch import Tensor

from vgeo.device import Compute
from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.geo.tiles import tile_of
from vgeo.methods import _gallery, get
from vgeo.methods._gallery import embed_rows
from vgeo.methods.base import Clips, Places, Retriever
from vgeo.stages import key_parts, keys
from vgeo.stages.aerial_gallery import AerialRules, build_aerial
from vgeo.stages.build_gallery import build_gallery
from vgeo.stages.keys import cache_folder, gallery_keys
from vgeo.stages.models import Model
from vgeo.training.evaluate import gallery_keys as keys_in_training

CPU = torch.device("cpu")
COMPUTE = Compute(CPU, torch.float32)
TILES = square(*tile_of((40.7, -74.0), 19), 5)


class Corners(Retriever):
    """Its keys are the colours of a tile's corners."""

    Config = type(None)
    title = paper = "none"
    gallery_kind = "tiles"
    batches: list[int]

    def __init__(self) -> None:
        super().__init__(None)
        self.batches = []

    @property
    def encoders(self) -> tuple[str, ...]:
        return ()

    def queries(self, clips: Clips) -> Tensor:
        raise NotImplementedError

    def keys(self, places: Places) -> Tensor:
        assert places.tiles_GSSC is not None and places.tiles_GSSC.dtype == torch.uint8
        assert places.tiles_GSSC.shape[1:] == (SIZE, SIZE, 3)
        assert len(places.latlon_deg) == len(places.tiles_GSSC)
        self.batches.append(len(places.tiles_GSSC))
        return corners(places.tiles_GSSC.double()).float()


def corners(tiles: Tensor) -> Tensor:
    return torch.nn.functional.normalize(tiles[:, [0, 0, -1], [0, -1, 0]].flatten(1) + 1, dim=1)


def expected(rows: list[tuple[int, int]]) -> Tensor:
    return corners(torch.from_numpy(np.stack([tile_pixels(x, y) for x, y in rows]).astype(np.float64)))


def model(method: Retriever, hash: str = "hash") -> Model:
    return Model(name="toy", method=method, encoders={}, hash=hash, folder=None, gallery=None)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return build_aerial(write_tiles(tmp_path / "tiles", TILES))


def test_every_row_has_the_key_of_its_picture(gallery: Gallery) -> None:
    for rows, of in ((7, None), (4096, None), (4, [3, 20, 3, 1])):
        method = Corners()
        found = torch.cat(list(embed_rows(method, gallery, CPU, rows, of=of)))
        want = expected(sorted(TILES) if of is None else [sorted(TILES)[row] for row in of])
        assert (found - want).abs().max() < 1e-6
        assert max(method.batches) <= min(rows, 16)
    method = Corners().train()
    assert (keys_in_training(method, gallery, CPU) - expected(sorted(TILES))).abs().max() < 1e-6


def test_of_rows_works_for_points_too() -> None:
    cls = get("geoclip")
    method = cls(cls.debug_config()).eval()
    points = Gallery(latlon_deg=np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    with torch.no_grad():
        every = torch.cat(list(embed_rows(method, points, CPU, 2)))
        some = torch.cat(list(embed_rows(method, points, CPU, 2, of=[2, 0])))
    assert (some - every[[2, 0]]).abs().max() < 1e-6


def test_keys_are_made_once(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vgeo")
    method = Corners()
    first = gallery_keys(model(method), gallery, COMPUTE)
    assert (first - expected(sorted(TILES))).abs().max() < 1e-6
    assert "embedding the gallery's 25 tiles, once for this model" in caplog.text
    made = len(method.batches)
    assert torch.equal(gallery_keys(model(method), gallery, COMPUTE), first)
    assert len(method.batches) == made
    gallery_keys(model(method, "other"), gallery, COMPUTE)
    assert len(method.batches) == 2 * made
    assert sorted(path.suffix for path in (cache_folder() / "keys").iterdir()) == [".npy", ".npy"]
    other = dataclasses.replace(gallery, attributes=gallery.attributes | {"pictures_digest": "other"})
    gallery_keys(model(method), other, COMPUTE)
    assert len(method.batches) == 3 * made


def test_what_was_done_before_an_error_is_kept(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vgeo")
    monkeypatch.setattr(key_parts, "PART_ROWS", 4)
    monkeypatch.setattr(keys, "PART_ROWS", 4)
    monkeypatch.setattr("vgeo.methods._gallery._TILES_ON_CPU", 3)
    x, y = sorted(TILES)[14]
    file = tmp_path / "tiles" / f"{x}_{y}.png"
    data = file.read_bytes()
    file.write_bytes(b"")
    method = Corners()
    with pytest.raises(FormatError, match=rf"^tile {x}_{y}: .*{x}_{y}\.png: empty"):
        gallery_keys(model(method), gallery, COMPUTE)
    assert sum(method.batches) == 12
    (parts,) = (cache_folder() / "keys").iterdir()
    assert sorted(path.name for path in parts.iterdir()) == ["0.npy", "1.npy", "2.npy"]
    file.write_bytes(data)
    (parts / "1.npy").write_bytes((parts / "1.npy").read_bytes()[:-5])  # damage is not believed
    np.save(parts / "0.npy", np.load(parts / "0.npy").astype(np.float64))
    method = Corners()
    found = gallery_keys(model(method), gallery, COMPUTE)
    assert (found - expected(sorted(TILES))).abs().max() < 1e-6
    assert sum(method.batches) == 25 - 4
    assert "4 of the 25 keys were made before; going on" in caplog.text
    assert not parts.exists()


def test_a_cache_that_cannot_be_written_is_said_once(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(key_parts, "PART_ROWS", 4)
    monkeypatch.setattr(keys, "PART_ROWS", 4)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(gallery_keys(model(Corners()), gallery, COMPUTE)) == 25
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "keys are not kept while they are made" in caplog.text


def test_pieces_of_any_batches() -> None:
    rows = torch.arange(23.0)[:, None]
    for batch in (1, 3, 5, 23):
        found = list(key_parts.cut(rows.split(batch), [4, 4, 7, 8]))
        assert [len(piece) for piece in found] == [4, 4, 7, 8]
        assert torch.equal(torch.cat(found), rows)


KILLED = """
import sys, time, torch
sys.path[:0] = sys.argv[2:4]
import test_tile_keys as t
from vgeo.formats.gallery import read_gallery
from vgeo.stages import keys, key_parts
keys.PART_ROWS = key_parts.PART_ROWS = 2
class Slow(t.Corners):
    def keys(self, places):
        time.sleep(0.05)
        return super().keys(places)
import vgeo.methods._gallery
vgeo.methods._gallery._TILES_ON_CPU = 2
t.gallery_keys(t.model(Slow()), read_gallery(sys.argv[1]), t.COMPUTE)
"""


def test_killed_and_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL while parts are written: what follows makes the others only, and nothing half written is believed."""
    monkeypatch.setattr(key_parts, "PART_ROWS", 2)
    monkeypatch.setattr(keys, "PART_ROWS", 2)
    build_gallery("aerial", [write_tiles(tmp_path / "tiles", TILES)], tmp_path / "g.h5")
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(tmp_path / "g.h5"), str(here), str(here.parent)]
    child = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    folder, deadline = cache_folder() / "keys", time.monotonic() + 60
    while len(list(folder.glob("*.parts/[0-9]*.npy"))) < 3:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = len(list(folder.glob("*.parts/[0-9]*.npy")))
    assert 3 <= done < 13
    method = Corners()
    found = gallery_keys(model(method), read_gallery(tmp_path / "g.h5"), COMPUTE)
    assert (found - expected(sorted(TILES))).abs().max() < 1e-6
    assert sum(method.batches) == 25 - 2 * done


def test_building_with_a_model_stores_its_keys(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path / "tiles", TILES)
    build_gallery("aerial", [folder], tmp_path / "g.h5", model=model(Corners()), compute=COMPUTE)
    stored = read_gallery(tmp_path / "g.h5")
    assert np.abs(stored.keys["hash"] - expected(sorted(TILES)).numpy()).max() < 1e-6
    method = Corners()
    assert len(gallery_keys(model(method), stored, COMPUTE)) == 25
    assert method.batches == []


def test_pictures_that_are_not_there(gallery: Gallery, tmp_path: Path) -> None:
    points = Gallery(latlon_deg=gallery.latlon_deg)
    with pytest.raises(FormatError, match="the gallery has no pictures; build one of tiles with 'vgeo build-gallery"):
        gallery_keys(model(Corners()), points, COMPUTE)
    (tmp_path / "tiles").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="the pictures are gone"):
        gallery_keys(model(Corners()), gallery, COMPUTE)


def test_a_gallery_of_another_kind(tmp_path: Path) -> None:
    regions = build_aerial(write_tiles(tmp_path / "t", TILES), AerialRules(regions=True, across=3, step=2))
    with pytest.raises(FormatError, match="a gallery of regions, but the model embeds tiles; build one of these"):
        gallery_keys(model(Corners()), regions, COMPUTE)


def test_gama_embeds_a_gallery_of_tiles(tmp_path: Path) -> None:
    """The method itself, small, on tiles of the published size."""
    cls = get("gama")
    torch.manual_seed(0)
    method = cls(cls.debug_config()).eval()
    made = build_aerial(write_tiles(tmp_path / "tiles", TILES[:3], size=256))
    found = gallery_keys(model(method), made, COMPUTE)
    tiles = torch.from_numpy(np.stack([tile_pixels(x, y, 256) for x, y in sorted(TILES[:3])]))
    with torch.no_grad():
        want = method.keys(Places(latlon_deg=torch.from_numpy(made.latlon_deg), tiles_GSSC=tiles))
    assert (found - want).abs().max() < 1e-5
    assert torch.linalg.vector_norm(found, dim=1) == pytest.approx([1.0] * 3, abs=1e-5)


def test_parts_of_another_size_are_as_if_they_were_not(tmp_path: Path) -> None:
    """Of a vgeo that made larger ones, say."""
    parts = key_parts.KeyParts(tmp_path)
    rows = 2 * key_parts.PART_ROWS + 10
    for number, count in enumerate((key_parts.PART_ROWS, 100, 10)):
        parts.write(number, torch.full((count, 3), float(number)))
    found = parts.read(rows)
    assert sorted(found) == [0, 2] and [len(found[number]) for number in (0, 2)] == [key_parts.PART_ROWS, 10]


def test_parts_are_whole_batches() -> None:
    """So that what is embedded after a kill is embedded in the same batches as ever, and comes out the same."""
    assert key_parts.PART_ROWS % _gallery._TILES == 0 and key_parts.PART_ROWS % _gallery._TILES_ON_CPU == 0


def test_parts_that_outlived_their_keys_go(gallery: Gallery) -> None:
    """Of a run that was killed while it removed them."""
    first = gallery_keys(model(Corners()), gallery, COMPUTE)
    (cached,) = (cache_folder() / "keys").iterdir()
    key_parts.KeyParts(cached.with_suffix(".parts")).write(0, first)
    assert torch.equal(gallery_keys(model(Corners()), gallery, COMPUTE), first)
    assert list((cache_folder() / "keys").iterdir()) == [cached]
