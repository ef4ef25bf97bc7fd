"""What is worth saying before a run begins: it would not train, or not as meant."""

import os
import shutil
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import SettingError
from vgeo.geo.sphere import distance_km, unit_vectors
from vgeo.methods.base import Classifier, Method
from vgeo.metrics import WITHIN_KM
from vgeo.training.data import Frames
from vgeo.training.loop import Options
from vgeo.training.sampling import steps_per_epoch

_FRAMES, _CHUNK = 1000, 65536


def cautions(method: Method, phases: Sequence[str], options: Options, frames: Frames, off_km: float) -> list[str]:
    """One line each of a gallery elsewhere, a warm-up that hardly ends, clips too short for the frames drawn from them.

    off_km: what `far_off_km` says of the gallery.
    """
    said = []
    if off_km > WITHIN_KM[-1]:
        said.append(
            f"the gallery's places are {off_km:,.0f} km from the frames (median), so hardly an answer can be right; "
            "build one where the data is: 'vgeo build-gallery grid FEATURES'"
        )
    lengths = np.diff(frames.clip_first)
    sees_frames = isinstance(method, Classifier) and method.frame_shape is not None
    for phase in phases:
        recipe = options.recipe(method, phase)
        steps = recipe.epochs * steps_per_epoch(frames.clip_first, recipe.clip_frames, recipe.batch_clips)
        if 2 * recipe.warmup_steps > steps:
            said.append(
                f"{recipe.warmup_steps} warm-up steps, but phase {phase} has {steps}: "
                f"--set warmup_steps={steps // 10}, or more --epochs"
            )
        if (wanted := recipe.clip_frames or 1) == 1:
            continue
        if (lengths == 1).all():
            said.append("every clip has a single frame: what looks at their order and neighbours sees nothing")
        elif short := int((lengths < wanted).sum()):
            said.append(
                f"{short} of {len(lengths)} clips have fewer than the {wanted} frames that are drawn from each; "
                + ("their last one is repeated" if sees_frames else "they are filled up and masked")
            )
    return list(dict.fromkeys(said))


def far_off_km(latlon_deg: NDArray[np.float64], places_deg: NDArray[np.float64]) -> float:
    """How far a gallery's nearest place is from a frame, in the median of up to 1,000 frames: no answer is better."""
    some = latlon_deg[np.linspace(0, len(latlon_deg) - 1, min(len(latlon_deg), _FRAMES)).astype(int)]
    frames_N3, places_G3 = unit_vectors(some), unit_vectors(places_deg)
    best = np.full(len(some), -1)
    nearest = np.full(len(some), -np.inf)
    for first in range(0, len(places_G3), _CHUNK):
        cosine = frames_N3 @ places_G3[first : first + _CHUNK].T
        better = cosine.max(1) > nearest
        best[better], nearest[better] = first + cosine.argmax(1)[better], cosine.max(1)[better]
    return float(np.median(distance_km(some, places_deg[best])))


def check_compiler() -> None:
    """Raise SettingError when there is no C++ compiler, which torch.compile needs."""
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"])):
        raise SettingError(f"--compile needs a C++ compiler, {named or 'g++'} is not here; install it or leave it out")
