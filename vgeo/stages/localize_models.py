"""Which model, gallery and screening network clips are localized with, where nobody names one."""

import logging
import os
from pathlib import Path

from vgeo import methods
from vgeo.errors import InputError, UsageError
from vgeo.formats.checkpoints import CONFIG
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.stages.hierarchy import KEEP, Screen, read_screen
from vgeo.stages.localize_inputs import PathLike
from vgeo.stages.models import Model, load_model
from vgeo.stages.train_inputs import DEFAULT_GALLERY

log = logging.getLogger(__name__)

DEFAULT_MODELS = Path("models")
SCREENING = "screening"

_KINDS = {"features": " points --keep-features", "tiles": " aerial TILES"}


def default_model(model: PathLike | None) -> PathLike | None:
    """The given one; for a method without released weights the model of its name trained here; else the newest here.

    None, when nothing was trained here: GeoCLIP's released weights.
    """
    trained = [
        path
        for path in sorted(DEFAULT_MODELS.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime)
        if path.parent.name != SCREENING  # which says where to look, not where clips are
    ]
    if model is not None:
        own = DEFAULT_MODELS / os.fspath(model)
        return own if model in methods.names() and model != "geoclip" and (own / CONFIG) in trained else model
    if not trained:
        return None
    folder = trained[-1].parent
    others = f" (of {len(trained)}, the newest)" if len(trained) > 1 else ""
    log.info("model %s%s, which was trained here; --method geoclip takes the released weights", folder, others)
    return folder


def screen_of(model: Model, screening: PathLike | Model | None, keep: str | None) -> Screen | None:
    """The given screening network, or the one that was trained here. Raises UsageError for a model without tiles."""
    if model.method.gallery_kind != "tiles":
        if screening is not None or keep is not None:
            raise UsageError(f"--screening and --keep: {model.name} searches no tiles; leave them out")
        return None
    here = DEFAULT_MODELS / SCREENING
    if screening is None and (here / CONFIG).exists():
        log.info("regions found by %s, which was trained here; --screening none searches the whole gallery alone", here)
        screening = here
    if screening is None or screening == "none":
        if keep is not None:
            raise UsageError("--keep: is of the regions that --screening finds, and there is none")
        return None
    return read_screen(screening if isinstance(screening, Model) else load_model(screening), keep=keep or KEEP)


def gallery_of(path: PathLike | None, model: Model) -> Gallery:
    """The given gallery, the model's own, or the one that lies here."""
    if path is None:
        path = model.gallery
    if path is None:
        if not DEFAULT_GALLERY.exists():
            build = f"vgeo build-gallery{_KINDS.get(model.method.gallery_kind, '')}"
            raise InputError(f"model {model.name} has no gallery of its own; make one with '{build}'")
        path = DEFAULT_GALLERY
    gallery = read_gallery(path)
    log.info("gallery %s, %d places", path, len(gallery))
    return gallery
