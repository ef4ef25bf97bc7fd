"""What workers of a Ray cluster do for vgeo: encode clips, or localize them.

Made on each worker from settings that travel.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgeo.device import Compute, choose
from vgeo.encoders._windows import Windows, common_windows
from vgeo.encoders.base import EncoderSpec
from vgeo.logs import SILENT, Progress
from vgeo.stages.cluster import Cluster, Done, Where
from vgeo.stages.encode import ClipFeatures, FrameStream, Viewing, encode_stream
from vgeo.stages.eyes import Eyes, Found, frozen_or_own
from vgeo.stages.turns import Turn, Turns
from vgeo.video.clips import Clip


class Ahead:
    """Streams of clips whose decoding has begun."""

    def __init__(self, viewing: Viewing, windows: Windows | None) -> None:
        self._viewing, self._windows = viewing, windows
        self._waiting: dict[Clip, FrameStream] = {}
        self._begun: set[Clip] = set()
        self._lock = threading.Lock()

    def begin(self, clip: Clip) -> FrameStream:
        """Begin to decode a clip, or take the stream that does."""
        with self._lock:
            self._begun.add(clip)
            return self._waiting.pop(clip, None) or FrameStream(clip, self._viewing, self._windows)

    def ahead(self, clip: Clip) -> None:
        """Begin to decode a clip that comes later, unless it came already."""
        with self._lock:
            if clip not in self._begun:
                self._waiting[clip] = FrameStream(clip, self._viewing, self._windows)


@dataclass(frozen=True, slots=True)
class EyesFacts:
    """What the driver has to know of the encoders that the workers loaded."""

    specs: dict[str, EncoderSpec]
    sampling: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Makes the work of encoding clips; see `precompute_features` for the fields."""

    viewing: Viewing
    encoder_names: Sequence[str] = ()
    model: str | Path | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    settings: Sequence[str] = ()
    offline: bool = False

    def __call__(self, where: Where) -> "_Encoding":
        """Load the encoders on a worker."""
        return _Encoding(self.here(choose(where.device, where.precision)))

    def here(self, compute: Compute, workers: int = 1) -> Eyes:
        """Load the encoders in this process. Raises what `load_encoders` does."""
        encoders, viewing = frozen_or_own(
            self.encoder_names, self.model, compute, self.viewing,
            weights=self.weights, settings=self.settings, offline=self.offline,
        )  # fmt: skip
        return Eyes(encoders, viewing, workers)


class ClusterEyes:
    """Encoders of a cluster's workers, in place of `Eyes`; clips come as they are done."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        facts: EyesFacts = cluster.facts
        self.specs, self.sampling = facts.specs, facts.sampling

    def see(self, turns: Turns[Clip], progress: Progress = SILENT) -> Found:
        """Yield each turn with what gives its features, in the order in which they are done."""
        for turn, done in as_done(turns, self._cluster):
            if done is not None:
                progress.advance(1, turn.one.video_id)
            yield turn, lambda done=done: done.get()  # type: ignore[misc]


def as_done(turns: Turns[Any], cluster: Cluster) -> Iterator[tuple[Turn[Any], Done | None]]:
    """Yield turns with what the cluster made of them, in the order in which they are done; None: finished before."""
    running: dict[Any, Turn[Any]] = {}
    try:
        while True:
            turn = turns.take(wait=not running) if cluster.room else None
            if turn is not None and turn.finished:
                yield turn, None
            elif turn is not None:
                running[turn.one] = turn
                cluster.give(turn.one)
            elif running:
                one, done = cluster.next()
                yield running.pop(one), done
            else:
                return
    finally:
        turns.drop()


class _Encoding:
    def __init__(self, eyes: Eyes) -> None:
        self._encoders, self._ahead = eyes.encoders, Ahead(eyes.viewing, common_windows(eyes.encoders))
        self.facts = EyesFacts(eyes.specs, eyes.sampling)

    def ahead(self, item: Clip) -> None:
        self._ahead.ahead(item)

    def __call__(self, item: Clip) -> ClipFeatures:
        with self._ahead.begin(item) as stream:
            return encode_stream(stream, self._encoders)
