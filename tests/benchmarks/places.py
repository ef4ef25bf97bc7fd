"""Places as galleries have them: street grids of towns, where towns are, and roads out of them; keys of trained models.

Shapes: N places, E embedding width.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.cli import run
from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import KM_PER_DEG
from vgeo.methods._gallery import embed_rows
from vgeo.methods.base import Clips, Retriever
from vgeo.stages.models import load_model

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CAMBRIDGE = DATA / "cambridge-features"
_A_TOWN = 1000  # places of the mean town
_A_ROAD = 200

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
import cambridge  # noqa: E402

# What the README trains on Cambridge, for places 10 m apart; and the released location encoder, trained on from there.
MODELS = {
    "ladder of sigmas": cambridge.RECIPE,
    "released encoder": (
        *("init=released", "target_radius_km=0.05", "image_width=1024"),
        *("batch_frames=512", "learning_rate=3e-4", "warmup_steps=20"),
    ),
}


def towns(count: int, spacing_km: float, seed: int = 0) -> NDArray[np.float64]:
    """Positions [count, 2], town after town: every third street of a turned grid that thins out; each 20th on a road.

    Towns are GeoNames', drawn by the root of their population, and as large as that.
    """
    rng = np.random.default_rng(seed)
    with (DATA / "geonames-cities15000" / "cities15000.csv").open(encoding="utf-8") as file:
        rows = [(float(r["lat"]), float(r["lon"]), float(r["population"] or 0)) for r in csv.DictReader(file)]
    table = np.array(rows)
    weight = np.sqrt(table[:, 2] + 1)
    chosen = rng.choice(len(table), max(1, count // _A_TOWN), replace=False, p=weight / weight.sum())
    share = weight[chosen] / weight[chosen].sum()
    parts = []
    for (lat, lon), size in zip(table[chosen, :2], np.ceil(0.95 * count * share).astype(int), strict=True):
        plane = _streets(size, rng)
        parts.append(_around(lat, lon, plane * spacing_km))
        if rng.random() < size / (19 * _A_ROAD):
            way = np.outer(np.arange(_A_ROAD) + 20, _direction(rng))
            parts.append(_around(lat, lon, way * spacing_km))
    found = np.concatenate(parts)
    return np.concatenate([found, found[: max(0, count - len(found))] + 1e-4])[:count]


def _streets(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    side = int(np.ceil(np.sqrt(size * 9 / 5 * 1.6)))  # of 9 crossings of a fine grid 5 lie on streets
    north, east = (axis.ravel() - side // 2 for axis in np.indices((side, side)))
    on_street = (north % 3 == 0) | (east % 3 == 0)
    plane = np.stack([north, east], 1)[on_street]
    far = np.hypot(*plane.T) + rng.exponential(side / 6, len(plane))
    cos, sin = _direction(rng)
    return plane[np.argsort(far)[:size]] @ np.array([[cos, sin], [-sin, cos]])


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _around(lat_deg: float, lon_deg: float, plane_km: NDArray[np.float64]) -> NDArray[np.float64]:
    lat = (lat_deg + plane_km[:, 0] / KM_PER_DEG).clip(-89, 89)
    lon = lon_deg + plane_km[:, 1] / KM_PER_DEG / np.cos(np.radians(lat_deg))
    return np.stack([lat, (lon + 180) % 360 - 180], 1)


def with_cambridge(latlon: NDArray[np.float64], spacing_km: float) -> NDArray[np.float64]:
    """The same places with a grid over Cambridge, where the real queries are from, in place of the last ones."""
    held_out = np.load(CAMBRIDGE / "val.npz", allow_pickle=False)
    corner = [held_out["lat_deg"].min(), held_out["lon_deg"].min()]
    side = int(0.8 / spacing_km) + 1
    plane = np.stack(np.indices((side, side)), -1).reshape(-1, 2) * spacing_km
    grid = _around(*corner, plane)
    return np.concatenate([latlon[: -len(grid)], grid])


def trained(name: str, folder: Path, epochs: int = 30) -> Retriever:
    """GeoCLIP as one of MODELS, trained on real street views of Cambridge in a minute or two; kept in the folder."""
    out = folder / name.replace(" ", "-")
    if not (out / "model.safetensors").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        train, _ = cambridge.write_features(CAMBRIDGE, folder)
        words: Sequence[str] = [w for setting in MODELS[name] for w in ("--set", setting)]
        command = ["-q", "train", str(train), "--method", "geoclip", "--out", str(out), "--epochs", str(epochs)]
        if code := run([*command, "--val-fraction", "0", "--seed", "0", *words]):
            raise SystemExit(code)
    return load_model(out).retriever


@torch.inference_mode()
def held_out_queries(method: Retriever) -> Tensor:
    """Queries of 816 real street views that the model was not trained on."""
    features = np.load(CAMBRIDGE / "val.npz", allow_pickle=False)["features"].astype(np.float32)
    clips = Clips(
        features={method.encoders[0]: torch.from_numpy(features)[:, None]},
        mask_BT=torch.ones(len(features), 1, dtype=torch.bool),
    )
    return method.queries(clips)[:, 0].float().clone()


@torch.inference_mode()
def keys_of(method: Retriever, latlon: NDArray[np.float64], path: Path) -> NDArray[np.float32]:
    """The keys [N, E] of places, memory-mapped from a file; made where that is not there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial, keys, first = path.with_suffix(".part"), None, 0
        for part in embed_rows(method, Gallery(latlon_deg=latlon), torch.device("cpu"), 4096):
            if keys is None:
                keys = np.lib.format.open_memmap(partial, "w+", np.float32, (len(latlon), part.shape[1]))
            keys[first : first + len(part)] = part.numpy()
            first += len(part)
        partial.rename(path)
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="c", allow_pickle=False)  # "r" makes torch warn
    return mapped
