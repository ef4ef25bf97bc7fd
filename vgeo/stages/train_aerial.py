"""What a run of a method that learns tiles needs before it begins: clips with their tiles, or videos with regions.

Shapes: V videos, M moments.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.datasets.base import Recipe
from vgeo.errors import FormatError, InputError, SettingError, UsageError
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.methods.base import Retriever
from vgeo.methods.settings import from_dict
from vgeo.stages.gama_data import published_pairs
from vgeo.stages.moments import open_moments, tile_rows
from vgeo.stages.released_resnets import load_released_resnets
from vgeo.stages.train_inputs import DEFAULT_GALLERY
from vgeo.stages.train_prepare import Prepared, Request
from vgeo.stages.train_start import check_phase, load_start
from vgeo.training.cautions import far_off_km
from vgeo.training.data import ClipFile, Split, Usable, split
from vgeo.training.evaluate import gallery_keys
from vgeo.training.evaluate_pairs import TileValidation, validate_pairs
from vgeo.training.measures import format_km
from vgeo.training.moment_set import MomentSet
from vgeo.training.pair_store import PairStore
from vgeo.training.run import Validate

log = logging.getLogger(__name__)

GAMA = "gama"  # the layout


def prepare_pairs(asked: Request) -> Prepared:
    """Read clips and tiles, and build the model that is to match them. Raises what `train` does."""
    check_options(asked)
    model = aerial_model(asked)
    files, val_files, tiles = clips_of(asked, model.rate_hz)
    places = tiles if asked.gallery is None and asked.tiles is None else read_tiles(asked.gallery)
    parts = split(files, val_files, asked.val_fraction, asked.options.seed, asked.listed, WITH_TILE)
    _say_unpaired(files)
    load_weights(model, asked)
    model.to(asked.compute.device)
    store = PairStore.of_method(model, files, parts.train, tile_pictures(tiles), asked.compute)
    val_store = None
    if parts.val is not None:
        val_store = PairStore.of_method(model, moment_sets(parts.val_files), parts.val, None, asked.compute)
    searched = held_out_rows(places, parts)
    off_km = far_off_km((parts.val or parts.train).latlon_deg, searched.latlon_deg)
    return Prepared(
        model=model,
        encoders={},
        parts=parts,
        gallery=places,
        store=store,
        val_store=val_store,
        validate=None if val_store is None else _validator(model, val_store, searched, asked),
        places=f"gallery of {len(searched)} tiles, {format_km(off_km)} from them (median)",
        noun="seconds",
        facts={"tiles": tiles.digest},
        rate_hz=model.rate_hz,
        off_km=off_km,
    )


def held_out_rows(places: Gallery, parts: Split) -> Gallery:
    """The tiles that held-out clips are searched among: those labelled val where some are, as published; else all."""
    said = places.labels.get("split")
    if parts.val is None or said is None or not (said == "val").any():
        return places
    return places.take(said == "val")


def moment_sets(files: Sequence[ClipFile]) -> list[MomentSet]:
    """The files, which all are."""
    return [file for file in files if isinstance(file, MomentSet)]


def _has_tile(file: ClipFile) -> NDArray[np.bool_]:
    assert isinstance(file, MomentSet)
    return file.tile_M >= 0


WITH_TILE = Usable(
    _has_tile, "has a place that a tile shows", "make a gallery of them with 'vgeo build-gallery aerial TILES'"
)


def check_options(asked: Request) -> None:
    """Raise UsageError for what is asked of other methods."""
    labels = asked.labels if asked.layout is None else None  # else a list of what to read
    for what, value in {"labels": labels, "scenes": asked.scenes, "text": asked.text}.items():
        if value is not None:
            raise UsageError(f"--{what}: {asked.name} learns tiles; that is for methods that learn cities")
    if asked.rankings is not None and asked.cls.gallery_kind == "tiles":
        raise UsageError(f"--rankings: {asked.name} makes them; they are for screening")
    if asked.at != "own":
        raise UsageError(f"--at {asked.at}: {asked.name} learns the tiles of clips' own places; leave it out")
    for path in (*asked.inputs, *asked.val):
        if path.suffix.lower() in (".h5", ".hdf5"):
            raise UsageError(
                f"{path}: a feature file, and {asked.name} sees frames; name a folder of them ('vgeo extract-frames')"
            )


def aerial_model(asked: Request) -> Retriever:
    """The method with its settings."""
    values = (asked.source.config if asked.source else {}) | asked.changed
    config: Any = from_dict(asked.cls.Config, values)
    try:
        model = asked.cls(config)
    except ValueError as error:
        raise SettingError(f"settings of {asked.name}: {error}") from error
    assert isinstance(model, Retriever)
    return model


def load_weights(model: Retriever, asked: Request) -> None:
    """Load what training starts from; after the data are read, for it may be a download."""
    check_phase(model, asked.name, asked.options.phase, asked.source)
    released = asked.source is None and model.config.init == "released"
    if asked.weights and not released:
        raise UsageError("--weights: are not used with --from or init=scratch; leave one of them out")
    if released and not asked.resume:
        load_released_resnets(model, asked.name, (asked.weights or {}).get(asked.name), offline=asked.offline)
    elif asked.source is not None and not asked.resume:
        load_start(model, asked.name, asked.source, None)


def clips_of(asked: Request, rate_hz: float | None) -> tuple[list[MomentSet], list[MomentSet], Gallery]:
    """Clips to train on, clips of --val, and the gallery that their tiles are rows of.

    That is --tiles, else (where tiles are what is searched, and rate_hz is not None) --gallery, else a published
    folder's own, else gallery.h5.
    """
    given = asked.tiles or (asked.gallery if rate_hz is not None else None)
    if asked.layout is None:
        if asked.min_frames is not None:
            raise UsageError("--min-frames: says how to read a data set; name which with --layout")
        tiles = read_tiles(given)
        files, val_files = (
            [open_moments(paths, tiles, rate_hz, asked.progress)] if paths else []
            for paths in (asked.inputs, asked.val)
        )
        return files, val_files, tiles
    if asked.layout != GAMA or len(asked.inputs) != 1 or asked.val:
        raise UsageError(
            f"--layout {asked.layout}: {asked.name} reads one folder of {GAMA}, which says what is held out"
        )
    recipe = Recipe(min_frames=asked.min_frames, seed=asked.options.seed, labels=asked.labels)
    found, own = published_pairs(asked.inputs[0], recipe=recipe, progress=asked.progress)
    if given is None:
        return [found], [], own
    tiles = read_tiles(given)
    found.tile_M[:] = tile_rows(found, tiles)
    return [found], [], tiles


def read_tiles(path: Path | None, kind: str = "tiles") -> Gallery:
    """Read a gallery of tiles, or of regions; gallery.h5 when None. Raises InputError, FormatError."""
    path = path or DEFAULT_GALLERY
    advice = f"make one with 'vgeo build-gallery aerial TILES{' --regions' if kind == 'regions' else ''} --out {path}'"
    if not path.exists():
        raise InputError(f"{path}: no such gallery of {kind}; {advice}")
    found = read_gallery(path)
    if found.attributes.get("kind") != kind:
        raise FormatError(f"{path}: a gallery of {found.attributes.get('kind', 'points')}, not of {kind}; {advice}")
    return found


def _say_unpaired(files: Sequence[MomentSet]) -> None:
    """Say how many seconds no tile shows."""
    total = sum(len(file) for file in files)
    without = sum(int((file.tile_M < 0).sum()) for file in files)
    if without:
        log.warning("%d of %d seconds have no tile in the gallery, and are left out", without, total)


def _validator(model: Retriever, store: PairStore, places: Gallery, asked: Request) -> Validate:
    """What measures the held-out clips."""

    def measure(_: str) -> TileValidation:
        keys_GE = gallery_keys(model, places, asked.compute.device)
        return validate_pairs(model, store, places, keys_GE)

    return measure
