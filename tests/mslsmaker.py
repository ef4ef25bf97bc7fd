"""Makes small folders of the shape of Mapillary Street-Level Sequences."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

EPOCH_MS = 1_500_000_000_000


@dataclass(frozen=True)
class Shot:
    """One picture, as the lists tell of it."""

    key: str
    frame: int
    lat: float = 0.0
    lon: float = 0.0
    ms: int = EPOCH_MS
    pano: bool = False
    on_disk: bool = True


def drive(
    name: str,
    frames: int,
    lat: float,
    lon: float,
    *,
    numbers: Sequence[int] | None = None,
    panos: int = 0,
    missing: int = 0,
    step_deg: float = 5e-5,
) -> list[Shot]:
    """Pictures one second and `step_deg` of latitude apart; the first ones panoramas, the last ones not on disk."""
    return [
        Shot(f"{name}-{i}", n, lat + i * step_deg, lon, EPOCH_MS + 1000 * i, i < panos, i < frames - missing)
        for i, n in enumerate(numbers or range(frames))
    ]


def write_subset(folder: Path, drives: Mapping[str, Sequence[Shot]], placed: bool = True, jpeg: bool = False) -> None:
    """Write the lists (positions only where `placed`) and images/; pictures are empty files without `jpeg`."""
    (folder / "images").mkdir(parents=True)
    shots = [(sequence, shot) for sequence, some in drives.items() for shot in some]
    listed = [[i, shot.key, sequence, shot.frame] for i, (sequence, shot) in enumerate(shots)]
    raw = [[i, s.key, s.lon, s.lat, 0.0, s.ms, s.pano] for i, (_, s) in enumerate(shots)]
    _write(folder / "seq_info.csv", ["", "key", "sequence_key", "frame_number"], listed)
    if placed:
        _write(folder / "raw.csv", ["", "key", "lon", "lat", "ca", "captured_at", "pano"], raw)
        done = [[i, s.key, 0.0, 0.0, False, False, "Forward", 0] for i, (_, s) in enumerate(shots)]
        names = ["", "key", "easting", "northing", "night", "control_panel", "view_direction", "unique_cluster"]
        _write(folder / "postprocessed.csv", names, done)
    for number, (_, shot) in enumerate(shots):
        if shot.on_disk:
            (folder / "images" / f"{shot.key}.jpg").write_bytes(_picture(number % 16) if jpeg else b"")


def make_tree(root: Path, jpeg: bool = False) -> Path:
    """Two cities with positions and one without.

    london: 203 pictures. Sequences of 20, 20 (2 of them panoramas), 8 of 16, one of 15, one of 20 of which 5 are not on
    disk: 10 of 16 frames or more with 166 frames, 12 of 15 or more with 196.
    cph: 100 pictures. One sequence of 32 with a leap in the middle, 4 of 17.
    miami (test): two sequences of 16, without positions.
    """
    where = {f"d{i}": (51.50 + i / 100, -0.1) for i in range(8)}
    london = root / "train_val/london"
    write_subset(
        london / "query", {"q1": drive("q1", 20, 51.6, -0.2), "q2": drive("q2", 20, 51.61, -0.2, panos=2)}, jpeg=jpeg
    )
    database = {name: drive(name, 16, *place) for name, place in where.items()}
    database |= {"d8": drive("d8", 15, 51.7, 0.0), "d9": drive("d9", 20, 51.71, 0.0, missing=5)}
    write_subset(london / "database", database, jpeg=jpeg)
    cph = root / "train_val/cph"
    leap = [*range(16), *range(20, 36)]
    write_subset(cph / "query", {"k0": drive("k0", 32, 55.67, 12.57, numbers=leap)}, jpeg=jpeg)
    write_subset(cph / "database", {f"k{i}": drive(f"k{i}", 17, 55.6 + i / 100, 12.6) for i in (1, 2, 3, 4)}, jpeg=jpeg)
    miami = root / "test/miami"
    for subset, name in (("query", "m0"), ("database", "m1")):
        write_subset(miami / subset, {name: drive(name, 16, 0, 0)}, placed=False, jpeg=jpeg)
    return root


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)


@cache
def _picture(seed: int) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(data, "JPEG")
    return data.getvalue()
