"""Long videos cut into clips, and the frames taken of each: how CityGuessr68k was made (CityGuessr, section 3).

N frames of a video, K clips, F frames taken of a clip.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import InputError, UsageError
from vgeo.video.sampling import WAYS, Sampling, option

FRAMES_PER_CLIP = 100  # CityGuessr, section 3
_PART = 17  # clips are longer or shorter by up to 1/17: 800 to 900 frames, as in section 3, where 850 are asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """Clips of about `clip_frames` consecutive frames, of which `frames_per_clip` are taken, evenly spaced."""

    clip_frames: int
    frames_per_clip: int = FRAMES_PER_CLIP

    def __post_init__(self) -> None:
        if self.frames_per_clip < 1:
            raise UsageError(f"--frames-per-clip {self.frames_per_clip}: must be at least 1")
        if self.frames_per_clip > self.clip_frames:
            raise UsageError(
                f"--frames-per-clip {self.frames_per_clip}: more than the {self.clip_frames} frames of a clip; give "
                "fewer, or longer clips with --clip-frames"
            )

    @property
    def shortest(self) -> int:
        """Frames that a clip has at least."""
        return max(self.clip_frames - self.clip_frames // _PART, self.frames_per_clip)

    @property
    def longest(self) -> int:
        """Frames that a clip has at most."""
        return self.clip_frames + self.clip_frames // _PART

    def describe(self) -> str:
        """Canonical text, stored with the frames."""
        return f"clip_frames={self.clip_frames} frames_per_clip={self.frames_per_clip}"

    def check(self, sampling: Sampling) -> None:
        """Raise UsageError where another way of choosing frames is asked for, too."""
        for way in WAYS:
            if getattr(sampling, way) is not None:
                raise UsageError(f"--clip-frames and {option(way)}: give one of them, not several")

    def edges(self, frames: int, what: str) -> NDArray[np.int64]:
        """Where the clips of a video of `frames` frames begin and the last one ends: [K + 1], from 0.

        All frames are spread over clips of equal length (give or take a frame) where that lies between `shortest` and
        `longest`; the paper does not say what it did with remainders. Else clips have `clip_frames`, and what remains
        is too short for one and left out. Raises InputError for a video too short for any.
        """
        if frames < self.shortest:
            raise InputError(
                f"{what}: {frames} frames are too few for a clip of {self.shortest} to {self.longest}; give a smaller "
                "--clip-frames"
            )
        fitting = range(-(-frames // self.longest), frames // self.shortest + 1)
        if fitting:
            clips = min(fitting, key=lambda number: abs(frames / number - self.clip_frames))
            return np.arange(clips + 1) * frames // clips
        return np.arange(frames // self.clip_frames + 1) * self.clip_frames

    def taken(self, length: int) -> NDArray[np.int64]:
        """Numbers, in a clip of `length` frames, of those taken: [F], the middles of F equal parts, as --count does."""
        return (2 * np.arange(self.frames_per_clip) + 1) * length // (2 * self.frames_per_clip)
