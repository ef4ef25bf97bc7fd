"""Frozen backbones that fill a feature file: one file each, found by its name. Importing this imports none of them.

A name may carry a variant after a colon: `torchvision:resnet50`, `clip:openai/clip-vit-base-patch32`.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from vgeo.errors import UsageError

if TYPE_CHECKING:
    from vgeo.device import Compute
    from vgeo.encoders.base import Encoder, Skeleton


def names() -> list[str]:
    """Names of all encoders, by file name, without importing them."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base" and not m.name.startswith("_"))


def load(
    name: str,
    compute: "Compute",
    *,
    weights: str | None = None,
    settings: dict[str, str] | None = None,
    offline: bool = False,
) -> "Encoder":
    """Load an encoder onto `compute`.

    name: `family` or `family:variant`. weights: a local file or folder instead of the hub's.
    Raises UsageError for an unknown name or setting, MissingModelError when weights cannot be had.
    """
    module, variant = _find(name)
    encoder: Encoder = module.load(variant, compute, weights=weights, settings=settings or {}, offline=offline)
    return encoder


def skeleton(name: str) -> "Skeleton | None":
    """Build an encoder's backbone on the meta device, without weights; None when its shape comes with its weights.

    Raises UsageError for an unknown name.
    """
    module, variant = _find(name)
    import torch

    from vgeo.encoders._hub import quiet

    with quiet(), torch.device("meta"):
        found: Skeleton | None = module.skeleton(variant)
    if found is not None:
        found.model.requires_grad_(False).eval()
    return found


def _find(name: str) -> tuple[Any, str]:
    """The module of a family, and the variant. Raises UsageError for an unknown name."""
    family, _, variant = name.partition(":")
    if family not in names():
        raise UsageError(f"no encoder {name!r}; there are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{family}"), variant
