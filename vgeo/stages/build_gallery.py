"""Build the gallery that clips are searched among: a grid, given points, or the world's cities."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgeo.errors import UsageError
from vgeo.formats.gallery import Gallery, format_of, write_gallery
from vgeo.formats.picture_place import PICTURED
from vgeo.formats.streams import check_output
from vgeo.geo import thinning
from vgeo.logs import SILENT, Progress
from vgeo.stages.aerial_gallery import DEFAULT_TILES, AerialRules, build_aerial
from vgeo.stages.city_gallery import all_cities, named_cities
from vgeo.stages.city_text import with_text
from vgeo.stages.gallery_inputs import Source, read_places
from vgeo.stages.grid_gallery import GridRules, build_grid

if TYPE_CHECKING:
    from vgeo.device import Compute
    from vgeo.encoders._text import TextEncoder
    from vgeo.stages.models import Model

log = logging.getLogger(__name__)

KINDS = ("grid", "points", "cities", "aerial")
DEFAULT_INPUT = "features.h5"


def build_gallery(
    kind: str,
    inputs: Sequence[Source],
    out: Source,
    *,
    rules: GridRules | None = None,
    within: Source | None = None,
    split: str | None = None,
    keep_features: bool = False,
    unique: bool = False,
    thin_m: float | None = None,
    min_population: int = 15000,
    countries: Sequence[str] = (),
    text: "TextEncoder | None" = None,
    aerial: AerialRules | None = None,
    model: "Model | None" = None,
    compute: "Compute | None" = None,
    format: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Gallery:
    """Build a gallery of a kind (grid, points, cities or aerial), write it to `out` and return it.

    inputs: none means features.h5; for cities, all of GeoNames; for aerial the one folder or file of tiles (none means
    tiles), or of a data set; nothing where `within` says it all. split: of the inputs' positions, as in `read_places`;
    for cities it has no meaning. text: encodes the names of cities and of what they lie in. aerial: which tiles. model:
    embeds the rows; the keys are stored under its hash. format: by the suffix of `out` when None.
    Raises UsageError, InputError, FormatError or OutputError, and writes nothing then.
    """
    holds = [name for name, given in (("features", keep_features), ("text", text), ("keys", model)) if given]
    _check_kind(kind, out, format, holds)
    check_output(out, overwrite)
    if kind == "cities":
        if inputs and countries:
            raise UsageError("the inputs name the cities already, --country is for all of GeoNames: give one of them")
        gallery = named_cities(inputs, min_population) if inputs else all_cities(min_population, countries)
        if text is not None:
            gallery = with_text(gallery, text, progress)
    elif kind == "aerial":
        if len(inputs) > 1:
            raise UsageError("give one folder or file of tiles; positions follow --around, once for each input")
        rules_of_tiles = (aerial or AerialRules())._replace(split=split)
        gallery = build_aerial(inputs[0] if inputs else DEFAULT_TILES, rules_of_tiles, progress)
    elif kind == "points":
        sources = inputs or [DEFAULT_INPUT]
        gallery = build_points(sources, split=split, keep_features=keep_features, unique=unique, thin_m=thin_m)
    else:
        sources = inputs or ([] if within is not None else [DEFAULT_INPUT])
        gallery = build_grid(sources, rules, within=within, split=split, progress=progress)
    if model is not None:
        from vgeo.device import choose
        from vgeo.stages.keys import gallery_keys

        keys = gallery_keys(model, gallery, compute or choose(), progress)
        gallery = replace(gallery, keys={model.hash: np.asarray(keys, np.float32)})
    write_gallery(out, gallery, format)
    return gallery


def _check_kind(kind: str, out: Source, format: str | None, holds: Sequence[str]) -> None:
    """Raise UsageError unless a gallery of that kind can hold what is asked for, in the format of `out`."""
    if kind not in KINDS:
        raise UsageError(f"no kind of gallery {kind!r}; there are {', '.join(KINDS)}")
    if format_of(out, format) != "h5" and (kind == "aerial" or holds):
        what = "a gallery of tiles needs" if kind == "aerial" else "features, text and keys need"
        raise UsageError(f"{out}: {what} HDF5; give --out a name that ends in .h5")
    if "text" in holds and kind != "cities":
        raise UsageError(f"text is of the names of cities, which a gallery of kind {kind} has not")


def build_points(
    inputs: Sequence[Source],
    *,
    split: str | None = None,
    keep_features: bool = False,
    unique: bool = False,
    thin_m: float | None = None,
) -> Gallery:
    """Take the inputs' own positions, in their order; repeated ones stay unless told otherwise.

    split: as in `read_places`. keep_features: carry the features of a feature file along (for `nearest`). unique: drop
    repeated positions. thin_m: drop positions nearer than this to one before them. The first of each is kept.
    """
    if thin_m is not None and not 0 <= thin_m < math.inf:
        raise UsageError(f"--thin-m {thin_m:g}: must be 0 or more")
    gallery = read_places(inputs, keep_features, split)
    if unique or thin_m:
        rows = thinning.thin(gallery.latlon_deg, thin_m) if thin_m else thinning.distinct(gallery.latlon_deg)
        log.info("%d of %d positions kept", len(rows), len(gallery))
        gallery = gallery.take(rows)
    return replace(gallery, attributes={"kind": "points", **({"thin_m": thin_m} if thin_m else {})})


def describe(gallery: Gallery, out: Source) -> str:
    """One line about a finished gallery."""
    made = gallery.attributes
    noun = str(made["kind"]) if made.get("kind") in PICTURED else "points"
    parts = [f"{len(gallery):,} {noun if len(gallery) != 1 else noun[:-1]}"]
    if "zoom" in made:
        parts.append(f"zoom {made['zoom']}")
    if made.get("kind") == "grid":
        parts += [f"{made['regions']:,} region{'s' * (made['regions'] != 1)}", f"{made['area_km2']:,.6g} km²"]
        parts += [f"spacing {made['spacing_km']:g} km"]
    if gallery.features:
        parts.append(f"features of {', '.join(gallery.features)}")
    if gallery.text:
        parts.append(f"text of {', '.join(gallery.text)}")
    if gallery.keys:
        parts.append("keys embedded")
    if Path(out).is_file():
        size = os.path.getsize(out)
        parts.append(f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB")
    return f"{out}: {', '.join(parts)}"
