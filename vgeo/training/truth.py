"""What clips are labelled with, for a Classifier: their class at each level, and the scenes they show.

Shapes: V clips, L levels, P groups of scenes, B clips of a batch.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.methods.base import Truth


@dataclass(slots=True, eq=False)
class ClipTruth:
    """The labels of some clips, in the order of a set of frames."""

    class_VL: NDArray[np.int64]  # id at each level, -1 where it is not known
    scene_VP: NDArray[np.float32] | None = None  # shares of frames; zeros where nothing is known
    _tables: dict[torch.device, Truth] = field(default_factory=dict, repr=False)

    def of_clips(self, clip_B: Tensor, device: torch.device) -> Truth:
        """The labels of clips by number, on the device; nothing here waits for it."""
        if device not in self._tables:
            scenes = None if self.scene_VP is None else torch.from_numpy(self.scene_VP).to(device)
            self._tables[device] = Truth(class_BL=torch.from_numpy(self.class_VL).to(device), scene_BP=scenes)
        all_clips = self._tables[device]
        index_B = clip_B.to(device, non_blocking=True)
        return Truth(
            class_BL=all_clips.class_BL.index_select(0, index_B),
            scene_BP=None if all_clips.scene_BP is None else all_clips.scene_BP.index_select(0, index_B),
        )

    @property
    def digest(self) -> str:
        """A name for these labels, to tell on resume whether they are the same."""
        return digest_of(self.class_VL, *([] if self.scene_VP is None else [self.scene_VP]))


def digest_of(*arrays: NDArray[Any]) -> str:
    """A name (16 hex digits) for what arrays hold."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]
