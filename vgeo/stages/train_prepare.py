"""What a run of a Retriever needs before it begins: data, model, gallery and how the model is measured."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import UsageError
from vgeo.formats.checkpoints import ModelFiles
from vgeo.formats.clip_list import ListedClip
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import Method, Retriever
from vgeo.stages.models import check_same_encoders
from vgeo.stages.train_inputs import check_widths, city_gallery, fitting_settings, training_gallery
from vgeo.stages.train_start import check_features, check_phase, load_start
from vgeo.training.cautions import far_off_km
from vgeo.training.centres import At, at_centres
from vgeo.training.data import Split, check_encoders, split
from vgeo.training.evaluate import Validation, gallery_keys, validate
from vgeo.training.loop import Options
from vgeo.training.measures import format_km
from vgeo.training.run import Validate
from vgeo.training.sampling import Store
from vgeo.training.store import FeatureStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `train` was asked for; see there."""

    name: str  # of the method
    cls: type[Method]
    inputs: Sequence[Path]
    changed: dict[str, Any]  # settings that were given
    options: Options
    compute: Compute
    folder: Path
    source: ModelFiles | None = None
    gallery: Path | None = None
    tiles: Path | None = None
    rankings: Path | None = None
    val: Sequence[Path] = ()
    val_fraction: float | None = None
    listed: Sequence[ListedClip] | None = None
    at: At = "own"
    weights: Mapping[str, str] | None = None
    offline: bool = False
    labels: Path | None = None
    scenes: Path | None = None
    text: Path | None = None
    layout: str | None = None
    min_frames: int | None = None
    resume: bool = False
    progress: Progress = SILENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that can begin."""

    model: Method  # on its device
    encoders: dict[str, EncoderSpec]  # whose features it reads
    parts: Split
    gallery: Gallery  # kept with the model
    store: Store
    val_store: Store | None  # None: nothing is held out
    validate: Validate | None
    places: str  # what the gallery is, in words
    noun: str = "frames"  # what is trained on
    facts: dict[str, Any] = field(default_factory=dict)  # must be the same for a run to be resumed, besides the usual
    rate_hz: float | None = None  # of the frames that windows are made of, where that is known
    off_km: float = 0.0  # how far the gallery is from the frames

    def close(self) -> None:
        """Stop what reads ahead."""
        for store in (self.store, self.val_store):
            if store is not None:
                store.close()


def prepare_search(asked: Request) -> Prepared:
    """Read feature files and gallery, and build the model over them. Raises what `train` does."""
    for what, value in {
        "labels": asked.labels, "scenes": asked.scenes, "text": asked.text, "layout": asked.layout,
        "min-frames": asked.min_frames,
    }.items():  # fmt: skip
        if value is not None:
            raise UsageError(f"--{what}: {asked.name} learns positions; that is for methods that learn cities")
    check_no_tiles(asked)
    if folders := [path for path in (*asked.inputs, *asked.val) if path.is_dir()]:
        raise UsageError(
            f"{folders[0]}: a folder, and {asked.name} learns over features; make them with "
            f"'vgeo precompute-features {folders[0]}'"
        )
    files, val_files = ([FeatureFile.open(path) for path in paths] for paths in (asked.inputs, asked.val))
    if asked.at != "own":
        cities = city_gallery(asked.gallery)
        files, val_files = (at_centres(some, cities, asked.at) for some in (files, val_files))
    if asked.source:
        check_same_encoders(asked.source, asked.changed)
    values = (asked.source.config if asked.source else {}) | asked.changed
    model = asked.cls(fitting_settings(asked.cls, values, files[0], asked.name))
    assert isinstance(model, Retriever)
    check_encoders([*files, *val_files], model.encoders, asked.name)
    encoders = {encoder: files[0].encoders[encoder] for encoder in model.encoders}
    check_phase(model, asked.name, asked.options.phase, asked.source)
    if asked.source:
        check_features(asked.source, encoders)
    if not asked.resume:
        load_start(model, asked.name, asked.source, asked.weights)
    parts = split(files, val_files, asked.val_fraction, asked.options.seed, asked.listed)
    places = training_gallery(asked.gallery, parts, asked.cls.gallery_kind)
    model.to(asked.compute.device)
    store = FeatureStore(files, parts.train, model.encoders, asked.compute)
    check_widths(model, store, encoders, asked.name)
    off_km = far_off_km((parts.val or parts.train).latlon_deg, places.latlon_deg)
    val_store = None
    if parts.val is not None:
        held_out = [file for file in parts.val_files if isinstance(file, FeatureFile)]
        val_store = FeatureStore(held_out, parts.val, model.encoders, asked.compute)
    return Prepared(
        model=model,
        encoders=encoders,
        parts=parts,
        gallery=places,
        store=store,
        val_store=val_store,
        validate=None if val_store is None else _validator(model, val_store, places, asked.compute),
        places=f"gallery of {len(places)} places, {format_km(off_km)} from them (median)",
        off_km=off_km,
    )


def check_no_tiles(asked: Request) -> None:
    """Raise UsageError for what only methods that learn tiles read."""
    for what, value in {"tiles": asked.tiles, "rankings": asked.rankings}.items():
        if value is not None:
            raise UsageError(f"--{what}: {asked.name} learns no tiles; that is for gama and screening")


def _validator(model: Retriever, store: FeatureStore, places: Gallery, compute: Compute) -> Validate:
    """What measures the held-out frames. Keys that a phase does not move are kept."""
    kept: dict[str, Tensor] = {}  # of the phase that is being trained

    def measure(phase: str) -> Validation:
        if phase not in kept:
            kept.clear()
        keys_GE = kept[phase] if phase in kept else gallery_keys(model, places, compute.device)
        if not model.moves_keys(phase):
            kept[phase] = keys_GE
        return validate(model, store, places, keys_GE)

    return measure
