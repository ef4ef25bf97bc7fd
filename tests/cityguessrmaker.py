"""Makes small folders of the shape of CityGuessr68k: a folder of pictures a video, and what lists them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from vgeo.geo.hierarchy import Hierarchy

# In the order of their names; Ghent and Bruges are in one state. City, state, country, continent.
PLACES = (
    ("Accra", "Greater Accra", "Ghana", "Africa"),
    ("Bruges", "Flanders", "Belgium", "Europe"),
    ("Delhi", "Delhi", "India", "Asia"),
    ("Ghent", "Flanders", "Belgium", "Europe"),
    ("Mumbai", "Maharashtra", "India", "Asia"),
    ("Paris", "Île-de-France", "France", "Europe"),
)
# Numbered by hand as published.
IDS = ((0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 1, 1, 1), (4, 3, 2, 2), (5, 4, 3, 1))
MAPPING = [
    {"0": 0, "1": 1, "2": 2, "3": 1, "4": 3, "5": 4},
    {"0": 0, "1": 1, "2": 2, "3": 2, "4": 3},
    {"0": 0, "1": 1, "2": 2, "3": 1},
]
HEADER = ("path", "city", "state", "country", "continent")


def write_video(folder: Path, frames: int, seed: int | None = None) -> None:
    """Write a folder of pictures 000000.jpg, ...; empty files without `seed`."""
    folder.mkdir(parents=True)
    for i in range(frames):
        (folder / f"{i:06d}.jpg").write_bytes(b"" if seed is None else _picture(seed, i % 4))


def list_line(path: str, ids: Sequence[int], fields: int = 533) -> str:
    """A line as published: text, and 16 scenes alike."""
    return ",".join([path, *map(str, ids), *["0.25"] * (fields - 21), *["0.0625"] * 16])


def write_list(file: Path, videos: Mapping[str, Sequence[int]]) -> None:
    """Write a list of ids as published."""
    file.write_text("".join(list_line(path, ids) + "\n" for path, ids in videos.items()))


def write_table(file: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table of names."""
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([header, *rows])


def write_mapping(file: Path, mapping: object = MAPPING) -> None:
    """Write hierarchy_mappings.json."""
    file.write_text(json.dumps(mapping))


def make_tree(root: Path, jpeg: bool = False, per_city: int = 5) -> Path:
    """Six cities of five videos, c_v, of 20 frames; no table. The first of Accra has 10 frames."""
    for c, (city, *_) in enumerate(PLACES):
        for v in range(per_city):
            frames = 10 if c == v == 0 else 20
            write_video(root / f"{city.lower()}_{v}", frames, c if jpeg else None)
    return root


def rows(per_city: int = 5) -> list[tuple[str, ...]]:
    """The table of `make_tree`."""
    return [(f"{place[0].lower()}_{v}", *place) for place in PLACES for v in range(per_city)]


def listed(per_city: int = 5) -> dict[str, tuple[int, ...]]:
    """The list of `make_tree`."""
    return {f"{place[0].lower()}_{v}": ids for place, ids in zip(PLACES, IDS, strict=True) for v in range(per_city)}


@cache
def _picture(city: int, number: int) -> bytes:
    """A city has its colours."""
    data, rng = io.BytesIO(), np.random.default_rng(city)
    base = rng.integers(40, 215, (6, 8, 3))
    noise = np.random.default_rng([city, number]).integers(-30, 30, (6, 8, 3))
    pixels = np.clip(base + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(data, "JPEG")
    return data.getvalue()


def mapping_of(hierarchy: Hierarchy) -> list[dict[str, int]]:
    """The published form: for each step up, a dictionary from id, as text, to id."""
    return [{str(finer): int(coarser) for finer, coarser in enumerate(up)} for up in hierarchy.up]
