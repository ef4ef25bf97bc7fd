"""Keys of a gallery of tiles, decoding included, against the bare encoder on tiles that lie in memory.

Run: python tests/benchmarks/bench_tile_keys.py [--rounds N] [--full-tiles N] [--device cuda] [--json FILE]
Tiles are those of the procedural world, 256 x 256. Prints medians of interleaved rounds and the share of the bare rate;
absolute times depend on the machine.
"""

import argparse
import io
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rows import Row, write_rows

from vgeo.formats.gallery import Gallery
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.geo.tiles import position, tile_of
from vgeo.methods import _gallery, get
from vgeo.methods._gallery import embed_rows
from vgeo.methods.base import Places, Retriever
from vgeo.stages.aerial_gallery import AerialRules, build_aerial
from vgeo.world.world import World

SIDE = 12  # tiles of the square that is rendered


def write(folder: Path) -> tuple[Path, Path, Path, Path]:
    """The same tiles as JPEGs, as PNGs, in MBTiles, and a track with a place for each of `SIDE` x `SIDE` crops."""
    world = World(0, 1)
    x0, y0 = tile_of((world.cities[0].lat_deg, world.cities[0].lon_deg))
    jpeg, png, packed = folder / "jpeg", folder / "png", folder / "t.mbtiles"
    jpeg.mkdir(), png.mkdir()
    file = sqlite3.connect(packed)
    file.execute("CREATE TABLE metadata (name text, value text)")
    file.execute("CREATE TABLE tiles (zoom_level integer, tile_column integer, tile_row integer, tile_data blob)")
    file.execute("CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)")
    for x in range(x0, x0 + SIDE):
        for y in range(y0, y0 + SIDE):
            picture = Image.fromarray(world.render_tile(x, y))
            data = io.BytesIO()
            picture.save(data, "JPEG", quality=90)
            (jpeg / f"{x}_{y}.jpeg").write_bytes(data.getvalue())
            picture.save(png / f"{x}_{y}.png")
            file.execute("INSERT INTO tiles VALUES (19, ?, ?, ?)", (x, 2**19 - 1 - y, data.getvalue()))
    file.commit()
    file.close()
    rows = []
    for drive in range(SIDE - 1):  # 8 m a second across all tiles
        for second in range(round((SIDE - 1.2) * 7)):
            at = position(x0 + 0.6 + second / 7, y0 + 0.6 + drive, 19)
            rows.append(f"v{drive},{second},{at[0]:.8f},{at[1]:.8f}")
    (folder / "t.csv").write_text("\n".join(["video_id,time_s,lat_deg,lon_deg", *rows, ""]))
    return jpeg, png, packed, folder / "t.csv"


def encoders(device: torch.device) -> dict[str, Retriever]:
    cls = get("gama")
    found = {}
    for name, settings in (
        ("width 8, 0.4 GMACs a tile", {"width": 8, "embed_dim": 64}),
        ("width 16, 1.7 GMACs", {"width": 16, "embed_dim": 128}),
        ("full size, repaired stem, 1.8 GMACs", {"aerial_stem": "torchvision"}),
        ("full size, as published, 27 GMACs", {}),
    ):
        torch.manual_seed(0)
        found[name] = cls(cls.Config(init="scratch", **settings)).eval().to(device)
    return found


@torch.no_grad()
def bare(method: Retriever, tiles: torch.Tensor, device: torch.device) -> None:
    size = _gallery._TILES if device.type != "cpu" else _gallery._TILES_ON_CPU
    for first in range(0, len(tiles), size):
        part = tiles[first : first + size]
        method.keys(Places(latlon_deg=torch.zeros(len(part), 2), tiles_GSSC=part.to(device))).cpu()


@torch.no_grad()
def embedded(method: Retriever, gallery: Gallery, count: int, device: torch.device) -> None:
    for keys in embed_rows(method, gallery, device, 4096, of=range(count)):
        keys.cpu()


def rates(ways: dict[str, Callable[[], None]], count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Median keys a second of each, and its processor's milliseconds a key, which say more on a busy machine.

    Rounds alternate.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            start, worked = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.perf_counter() - start, time.process_time() - worked))
    found = {}
    for name, values in taken.items():
        wall, work = (statistics.median(column) for column in zip(*values[1:], strict=True))
        found[name] = (count / wall, 1000 * work / count)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiles", type=int, default=48)
    parser.add_argument("--full-tiles", type=int, default=4, help="for the encoder as published")
    parser.add_argument("--only", default="", help="encoders whose names hold this")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        jpeg, png, packed, track = write(Path(name))
        galleries = {
            "folder of jpeg": build_aerial(jpeg),
            "folder of png": build_aerial(png),
            "MBTiles of jpeg": build_aerial(packed),
            "centred crops of jpeg": build_aerial(jpeg, AerialRules(around=[track])),
        }
        regions = build_aerial(jpeg, AerialRules(regions=True, step=1))
        # The screening network's encoder of regions costs what these encoders do.
        galleries["regions of 7 x 7 jpeg"] = replace(regions, attributes=regions.attributes | {"kind": "tiles"})
        for title, gallery in galleries.items():
            pictures = tile_pictures(gallery)
            start = time.perf_counter()
            done = sum(map(len, pictures.batches(range(min(len(gallery), 400)), 16)))
            print(f"decoding alone, {title:24s} {done / (time.perf_counter() - start):8.0f} a second")
        tiles = torch.from_numpy(np.stack([tile_pictures(galleries["folder of jpeg"]).read(row) for row in range(144)]))
        for title, method in encoders(device).items():
            if options.only not in title:
                continue
            count = options.full_tiles if "published" in title else options.tiles
            ways = {"bare": lambda m=method, c=count: bare(m, tiles[:c], device)}
            for kind, gallery in galleries.items():
                if len(gallery) >= count:
                    ways[kind] = lambda m=method, g=gallery, c=count: embedded(m, g, c, device)
            found = rates(ways, count, options.rounds)
            print(f"\n{title}: {count} tiles, {torch.get_num_threads()} threads, {device}")
            for kind, (rate, ms) in found.items():
                share, work = 100 * rate / found["bare"][0], 100 * found["bare"][1] / ms
                print(f"  {kind:24s} {rate:8.2f} keys/s, {share:5.1f} % of bare; {ms:8.2f} ms of CPU, {work:5.1f} %")
                if kind != "bare":
                    figures = f"{rate:.2f} keys/s, {found['bare'][0]:.2f} keys/s"
                    rows.append(Row(f"keys of tiles, {kind}", f"bare encoder, {title}", share, "", "%", figures))
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
