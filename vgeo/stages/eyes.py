"""What sees clips when features are made: frozen encoders, or a trained model that sees clips itself."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vgeo.device import Compute, announce
from vgeo.encoders._windows import common_windows
from vgeo.encoders.base import Encoder, EncoderSpec
from vgeo.errors import UsageError
from vgeo.logs import SILENT, Progress
from vgeo.stages.encode import ClipFeatures, Viewing, encode_stream, load_encoders, streams_ahead
from vgeo.stages.method_encoder import MethodEncoder, own_view
from vgeo.stages.turns import Turn, Turns
from vgeo.video.clips import Clip

log = logging.getLogger(__name__)

DEFAULT_ENCODER = "gist"


Found = Iterator[tuple[Turn[Clip], Callable[[], ClipFeatures]]]


@dataclass(slots=True)
class Eyes:
    """Encoders of this process; clips are decoded `workers` at a time, in threads, ahead of being encoded."""

    encoders: dict[str, Encoder]
    viewing: Viewing
    workers: int = 2

    @property
    def specs(self) -> dict[str, EncoderSpec]:
        """What identifies the features."""
        return {name: encoder.spec for name, encoder in self.encoders.items()}

    @property
    def sampling(self) -> str:
        """Which frames of a clip are looked at, in words."""
        return self.viewing.sampling.describe()

    @property
    def own(self) -> MethodEncoder:
        """The model that sees clips itself, where it is one."""
        (encoder,) = self.encoders.values()
        assert isinstance(encoder, MethodEncoder)
        return encoder

    def see(self, turns: Turns[Clip], progress: Progress = SILENT) -> Found:
        """Yield each turn with what encodes its clip, to be called where the clip is not finished.

        That raises InputError, FormatError, MissingModelError or UsageError.
        """
        with closing(
            streams_ahead(turns.ahead(), self.viewing, self.workers, common_windows(self.encoders))
        ) as streams:
            for turn in turns:
                yield turn, lambda: encode_stream(next(streams), self.encoders, progress)


def frozen_or_own(
    names: Sequence[str],
    model: str | Path | None,
    compute: Compute,
    viewing: Viewing,
    *,
    weights: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    offline: bool = False,
) -> tuple[dict[str, Encoder], Viewing]:
    """Load the encoders of these names (none: gist), or the model; and how clips are looked at for them.

    Raises UsageError for names beside a model, and what `load_encoders` and `own_view` do.
    """
    if model is not None:
        if names or weights or settings:
            raise UsageError("--model sees for itself: leave out --encoder, --weights and --set")
        announce(compute)
        own, viewing = own_view(Path(model), compute, viewing)
        return {own.spec.name: own}, viewing
    if not names:
        log.info("encoder gist, which needs no weights; -e clip -e dinov2 see more and download theirs")
    if set(names) - {DEFAULT_ENCODER}:  # gist always runs on the CPU in float32
        announce(compute)
    loaded = load_encoders(names or [DEFAULT_ENCODER], compute, weights=weights, settings=settings, offline=offline)
    return loaded, viewing
