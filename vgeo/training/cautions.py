"""What is worth saying before a run begins: it would not train, or not as meant."""

import os
import shutil
from collections.abc import Sequence

import numpy as np

from vgeo.errors import SettingError
from vgeo.methods.base import Method
from vgeo.training.data import Frames
from vgeo.training.loop import Options
from vgeo.training.sampling import steps_per_epoch


def cautions(method: Method, phases: Sequence[str], options: Options, frames: Frames) -> list[str]:
    """One line each of a warm-up that hardly ends, and of clips too short for the frames drawn from them."""
    said = []
    lengths = np.diff(frames.clip_first)
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
                "they are filled up and masked"
            )
    return list(dict.fromkeys(said))


def check_compiler() -> None:
    """Raise SettingError when there is no C++ compiler, which torch.compile needs."""
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"])):
        raise SettingError(f"--compile needs a C++ compiler, {named or 'g++'} is not here; install it or leave it out")
