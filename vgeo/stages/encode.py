"""Frames of clips through frozen encoders: decoding runs ahead in threads of its own.

Shapes: B frames of a batch, T rows of a clip (its frames, or windows of them), D feature width.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vgeo import encoders as families
from vgeo.device import Compute
from vgeo.encoders._windows import Windows, common_windows
from vgeo.encoders.base import Encoder, EncoderSpec
from vgeo.errors import UsageError
from vgeo.logs import SILENT, Progress
from vgeo.records import Floats
from vgeo.stages.rows import Rows, rows_of
from vgeo.video.clips import Clip, Frame, OpenClip, TrackSource, check_opening, open_clip
from vgeo.video.sampling import Sampling

log = logging.getLogger(__name__)

BATCH_BYTES = 64 * 2**20  # of decoded frames: 24 of 720p, 10 of 1080p, 2 of 4K
BATCHES_AHEAD = 2
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFeatures:
    """What the encoders say of one clip. Time, position and number of a window are those of its middle frame."""

    video_id: str
    features: dict[str, NDArray[np.float32]]  # encoder -> [T, D]
    time_s: Floats  # [T]
    latlon_deg: Floats  # [T, 2], NaN where unknown
    frame_index: NDArray[np.int64]  # [T]
    start_utc: datetime | None
    frames: int  # that were decoded
    labels: dict[str, str] = field(default_factory=dict)
    declared: int | None = None  # frames that the container claims
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing:
    """How clips are opened and cut into batches. Raises UsageError, InputError where none could be."""

    sampling: Sampling = field(default_factory=Sampling)
    source: TrackSource = field(default_factory=TrackSource)
    decoder: str = "pyav"
    batch_size: int = 32  # frames that are encoded at a time

    def __post_init__(self) -> None:
        check_opening(self.decoder, self.source)


def load_encoders(
    wanted: Sequence[str | EncoderSpec],
    compute: Compute,
    *,
    weights: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    offline: bool = False,
) -> dict[str, Encoder]:
    """Load encoders by name, or as they were when features were made with them.

    weights: encoder -> file or folder. settings: `key=value` for all, `encoder.key=value` for one.
    Raises UsageError, also where a row of one's features would be a frame and of another's a window; InputError,
    FormatError or MissingModelError.
    """
    names = [item if isinstance(item, str) else item.name for item in wanted]
    doubled = sorted({name for name in names if names.count(name) > 1})
    unknown = sorted(set(weights or {}) - set(names))
    if doubled:
        raise UsageError(f"--encoder {doubled[0]}: given twice")
    if unknown:
        log.debug("weights of %s are not needed by %s", ", ".join(unknown), ", ".join(names))
    loaded: dict[str, Encoder] = {}
    for name, item in zip(names, wanted, strict=True):
        before = {} if isinstance(item, str) else item.settings
        path = (weights or {}).get(name)
        if path is None and not isinstance(item, str) and Path(item.weights).exists():
            path = item.weights
        start = time.perf_counter()
        encoder = families.load(
            name, compute, weights=path, settings={**before, **_settings_of(name, names, settings)}, offline=offline
        )
        log.debug("encoder %s loaded in %.1f s", name, time.perf_counter() - start)
        if encoder.spec.name in loaded:
            raise UsageError(f"--encoder {name}: is {encoder.spec.name}, which is given already")
        loaded[encoder.spec.name if isinstance(item, str) else name] = encoder
    common_windows(loaded)
    return loaded


def read_weights(words: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Read `PATH` or `ENCODER=PATH` words; the encoder may be left out where there is one. Raises UsageError."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or name not in names:
            if len(names) > 1:
                raise UsageError(f"--weights {word}: say whose, as in --weights {names[0]}={word}")
            name, path = names[0], word
        if name in found:
            raise UsageError(f"--weights {word}: weights of {name} were given before; leave one of them out")
        found[name] = path
    return found


def encode_stream(stream: "FrameStream", encoders: Mapping[str, Encoder], progress: Progress = SILENT) -> ClipFeatures:
    """Encode the frames of a stream, each batch by every encoder; advances `progress` by 1 over the clip.

    Raises InputError, FormatError, MissingModelError or UsageError.
    """
    rows: Rows | None = None
    frames: list[tuple[float, int, float, float]] = []
    start = time.perf_counter()
    for batch in stream:
        rows = rows or rows_of(encoders, stream.promised_s, stream.clip.video_id, stream.wanted)
        rows.add(torch.from_numpy(np.stack([frame.image for frame in batch])))
        for frame in batch:
            lat_deg, lon_deg = (np.nan, np.nan) if frame.latlon_deg is None else frame.latlon_deg
            frames.append((frame.time_s, frame.index, lat_deg, lon_deg))
        rate = len(frames) / (time.perf_counter() - start)
        progress.advance(len(batch) / len(stream.opened.time_s), f"{stream.clip.video_id} {rate:.1f} frames/s")
    assert rows is not None  # a clip without frames raises where it is opened
    features, stands_for, remark = rows.finish()
    opened = stream.opened
    columns = np.array(frames, np.float64)[stands_for]
    return ClipFeatures(
        video_id=stream.clip.video_id,
        features=features,
        time_s=columns[:, 0],
        latlon_deg=columns[:, 2:],
        frame_index=columns[:, 1].astype(np.int64),
        start_utc=opened.start_utc,
        frames=len(frames),
        labels=opened.labels,
        declared=opened.declared,
        remarks=(*opened.remarks, *([remark] if remark else [])),
    )


class FrameStream:
    """Batches of a clip's frames, decoded in a thread that stays a few batches ahead.

    windows: what will be made of them; of a clip of pictures those that are in no window are not read.
    An error of the thread is raised where the batches are taken. Leaving the context ends the thread.
    """

    opened: OpenClip  # known from the first batch on, as what follows
    promised_s: Floats  # when the clip's frames are
    wanted: NDArray[np.int64] | None = None  # numbers of those that come; None: all

    def __init__(self, clip: Clip, viewing: Viewing, windows: Windows | None = None) -> None:
        self.clip, self._viewing, self._windows = clip, viewing, windows
        self._queue: queue.Queue[list[Frame] | BaseException | None] = queue.Queue(BATCHES_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._decode, name=f"decode {clip.video_id}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "FrameStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[list[Frame]]:
        while (batch := self._queue.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def _decode(self) -> None:
        view = self._viewing
        try:
            with open_clip(self.clip, view.sampling, decoder=view.decoder, source=view.source) as opened:
                self.opened = opened
                self._choose(opened)
                for batch in _batches(opened, view.batch_size):
                    if not self._put(batch):
                        return
        except BaseException as error:  # not swallowed: raised where the batches are taken
            self._put(error)
        else:
            self._put(None)

    def _choose(self, opened: OpenClip) -> None:
        self.promised_s = opened.time_s
        if self._windows is not None and self.clip.kind != "video" and len(self.promised_s):
            rows_WL = self._windows.rows(len(self.promised_s), self.clip.video_id, self.promised_s)
            self.wanted = np.unique(rows_WL)
            opened.only(self.wanted)

    def _put(self, item: list[Frame] | BaseException | None) -> bool:
        """Queue an item; False when nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False


def streams_ahead(
    clips: Iterable[Clip | None], viewing: Viewing, workers: int, windows: Windows | None = None
) -> Generator[FrameStream, None, None]:
    """Yield a stream for each clip in order, while the next ones are being decoded; `workers` at a time.

    clips: are asked for when their decoding can begin; None among them: none can now, ask again for the next stream.
    Close it at the end.
    """
    waiting, running = iter(clips), deque[FrameStream]()
    try:
        while True:
            while len(running) < max(1, workers) and (clip := next(waiting, None)) is not None:
                running.append(FrameStream(clip, viewing, windows))
            if not running:
                return
            yield running[0]
            running.popleft().__exit__()
    finally:
        for stream in running:
            stream.__exit__()


def _batches(opened: OpenClip, batch_size: int) -> Iterator[list[Frame]]:
    """Cut a clip into batches of frames of one size, bounded by number and by bytes."""
    batch: list[Frame] = []
    for frame in opened:
        same = not batch or frame.image.shape == batch[0].image.shape
        if batch and (not same or len(batch) >= batch_size or (len(batch) + 1) * frame.image.nbytes > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def _settings_of(name: str, names: Sequence[str], pairs: Sequence[str]) -> dict[str, str]:
    """Those of `key=value` and `encoder.key=value` that are meant for `name`. Raises UsageError."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: not of the form key=value")
        owner = next((other for other in names if key.startswith(f"{other}.")), None)
        if owner is None:
            found[key] = value
        elif owner == name:
            found[key.removeprefix(f"{owner}.")] = value
    return found
