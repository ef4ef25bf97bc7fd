"""Makes small folders of the shape of GAMa's data set, and of BDD100K's info files."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

START_MS = 1_503_828_163_000
FPS = 30
SIDE = 2**19


@dataclass(frozen=True)
class Ride:
    """One video: how many frames it has, and its locations (ms from the start, lat, lon) in the order of the file."""

    name: str
    frames: int
    places: Sequence[tuple[float, float, float]]
    split: str = "val"
    first_frame: int = 0
    crops: frozenset[int] | None = None  # numbers of the centred pictures; None: one for each location
    missing_frames: frozenset[int] = field(default_factory=frozenset)


def drive(name: str, seconds: int, lat: float = 40.7, lon: float = -73.95, *, early_ms: int = 700, **more: Any) -> Ride:
    """A ride north-east at one location a second, the first of them `early_ms` before the start."""
    places = [(1000 * i - early_ms, lat + 5e-5 * i, lon + 3e-5 * i) for i in range(seconds + 1)]
    return Ride(name, seconds * FPS, places, **more)


def info_of(ride: Ride) -> dict[str, Any]:
    """What BDD100K's file says of a ride, the phone's other sensors in front."""
    return {
        "rideID": ride.name,
        "accelerometer": [{"timestamp": START_MS + i, "x": 0.1, "y": -0.2, "z": 9.8} for i in range(50)],
        "locations": [
            {"timestamp": START_MS + ms, "latitude": lat, "longitude": lon, "speed": 7.5, "course": 30.0}
            for ms, lat, lon in ride.places
        ],
        "startTime": START_MS,
        "endTime": START_MS + ride.frames * 1000 // FPS,
    }


def tile_name(lat: float, lon: float) -> str:
    """x_y of the tile of zoom 19 that holds a position, by the formula of the slippy map."""
    x = (lon + 180) / 360 * SIDE
    y = (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * SIDE
    return f"{int(x)}_{int(y)}"


def write_info(root: Path, ride: Ride) -> Path:
    """info/<split>/<name>.json."""
    path = root / "info" / ride.split / f"{ride.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(info_of(ride)))
    return path


def write_frames(root: Path, ride: Ride) -> None:
    """video_data/<split>/<name>.mov/%04d.png; empty files, since nobody looks at them here."""
    folder = root / "video_data" / ride.split / f"{ride.name}.mov"
    folder.mkdir(parents=True)
    for number in range(ride.first_frame, ride.first_frame + ride.frames):
        if number not in ride.missing_frames:
            (folder / f"{number:04d}.png").touch()


def write_aerial(root: Path, ride: Ride) -> None:
    """The centred pictures, the 7 x 7 tiles around the middle of the ride, and the region made of them."""
    data = root / "satelite_data"
    centred = data / f"{ride.split}_gps" / ride.name
    centred.mkdir(parents=True)
    for number in range(len(ride.places)) if ride.crops is None else ride.crops:
        (centred / f"{number:02d}.jpeg").write_bytes(picture(number % 8))
    _, lat, lon = ride.places[len(ride.places) // 2]
    x, y = map(int, tile_name(lat, lon).split("_"))
    plain = data / ride.split / ride.name
    plain.mkdir(parents=True)
    for i in range(-3, 4):
        for j in range(-3, 4):
            (plain / f"{x + i}_{y + j}.jpeg").write_bytes(picture((i + 7 * j) % 8))
    regions = data / f"{ride.split}_hr"
    regions.mkdir(parents=True, exist_ok=True)
    (regions / f"{ride.name}.jpeg").write_bytes(picture(1, 1792))


def write_lists(folder: Path, lists: Mapping[str, Sequence[str]]) -> None:
    """Lists by name, of lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


def write_ride(root: Path, ride: Ride, aerial: bool = True) -> Ride:
    """All that belongs to a ride."""
    write_info(root, ride)
    write_frames(root, ride)
    if aerial:
        write_aerial(root, ride)
    return ride


def make_tree(root: Path, aerial: bool = True) -> Path:
    """Train: t0, t1 (day), t2 (night), each of 40 s. Val: v0, v1 (day), v2 (night), of 40, 38 and 36 s.

    Numbers of pictures begin at 0, those of v1 at 1. Every location has a centred picture. There are no lists.
    """
    for i in range(3):
        write_ride(root, drive(f"t{i}", 40, 40.7 + i / 100, split="train"), aerial)
    for i, first in enumerate((0, 1, 0)):
        write_ride(root, replace(drive(f"v{i}", 40 - 2 * i, 37.8 + i / 100, -122.4), first_frame=first), aerial)
    return root


@cache
def picture(seed: int, side: int = 256) -> bytes:
    """A JPEG."""
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(data, "JPEG")
    return data.getvalue()
