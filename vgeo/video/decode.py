"""Frames of a video by presentation time, decoding only what they need.

The packets' timestamps tell, before anything is decoded, which packet holds the frame on screen at a time, and at
which key frame decoding has to begin. Only those groups of pictures are decoded, each once, and in them frames that
nothing refers to are passed over unless they are wanted. What comes out equals decoding everything in order.
"""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vgeo.errors import FormatError
from vgeo.records import parse_utc
from vgeo.video.container import open_container, read_packets, video_stream
from vgeo.video.pixels import Converter, Pixels, Shape, turn_of
from vgeo.video.table import NO_TIME, FrameTable, read_table, read_table_by_decoding

log = logging.getLogger(__name__)

_FIRST_LOOK_PACKETS = 8  # enough to meet fields, hidden frames and missing references
_MAX_THREADS = 8
_MAX_AHEAD_BYTES = 256 * 2**20  # of finished frames that wait for their turn
_SEEK_BYTES = 8 * 2**20  # less than that is read over: a seek is not free, and some containers land elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a container says of its video, and what its packets and first frame show."""

    width: int  # upright
    height: int
    fps: float
    duration_s: float
    declared_frames: int | None  # by the container's header
    codec: str
    rotation_deg: int  # clockwise, applied to the frames
    start_utc: datetime | None


@dataclass(slots=True)
class Tally:
    """What happened while decoding."""

    damaged: set[int] = field(default_factory=set)  # numbers of packets that the decoder refused
    lost_frames: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Packets start..stop of which frames `rows` are wanted; decoding begins at `start`."""

    start: int
    stop: int
    rows: tuple[int, ...]


class Video:
    """An opened video: its table of frames and what it is. Frames come from `images`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tally = Tally()
        with open_container(path) as container:
            stream = video_stream(container, path)
            metadata = {**container.metadata, **stream.metadata}
            declared, codec = stream.frames or None, stream.codec_context.name
            rate = float(stream.average_rate or 0)
            table = read_table(container, stream)
            self.packets = len(table.packet_pts)
            if self.packets == 0:
                raise FormatError(f"{path}: its video has no frames")
        first, trusted = self._first_look(table)
        if not (table.by_packets and trusted):
            log.debug("%s: its packets do not tell the frames' times, decoding it to learn them", path)
            with open_container(path) as container:
                table = read_table_by_decoding(container, video_stream(container, path), table)
        elif not self._key_frames_serve(table):
            log.debug("%s: its key frames do not show a whole picture at once, decoding from the beginning", path)
            table = replace(table, keys=table.keys[:1])
        self.table = table
        # The container's time of the first frame shown, which is the clip's time 0.
        self.first_frame_s = float(table.pts[0] * table.time_base)
        turn = turn_of(first)
        width, height = (first.height, first.width) if turn.swaps else (first.width, first.height)
        span_s = float(table.time_s[-1]) if len(table) > 1 else 0.0
        self.info = VideoInfo(
            width=width,
            height=height,
            fps=(len(table) - 1) / span_s if span_s else rate,
            duration_s=table.duration_s,
            declared_frames=declared,
            codec=codec,
            rotation_deg=turn.rotation_deg,
            start_utc=_creation_time(metadata),
        )

    def images(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        """Yield (row, image) for the wanted rows, rising; a frame that cannot be decoded is left out and counted."""
        if not self.table.by_packets:
            yield from self._images_by_counting(rows, shape)
            return
        runs = plan(self.table, rows)
        threads = min(_MAX_THREADS, _cores(), len(runs))
        width, height = shape.of(self.info.width, self.info.height)
        longest = max((len(run.rows) for run in runs), default=0)
        if threads > 1 and longest * threads * 2 * width * height * 3 <= _MAX_AHEAD_BYTES:
            yield from self._images_in_parallel(runs, shape, threads)
            return
        with Reader(self.path, self.table, Converter(shape), self.tally, threads=0) as reader:
            for run in runs:
                yield from reader.images(run)

    def _images_in_parallel(self, runs: list[Run], shape: Shape, threads: int) -> Iterator[tuple[int, Pixels]]:
        """Give each thread a decoder of its own: groups of pictures are independent, so nothing is shared."""
        readers: deque[Reader] = deque()
        waiting: deque[Future[list[tuple[int, Pixels]]]] = deque()

        def work(run: Run) -> list[tuple[int, Pixels]]:
            try:
                reader = readers.popleft()
            except IndexError:
                reader = Reader(self.path, self.table, Converter(shape), self.tally, threads=1)
            try:
                return list(reader.images(run))
            finally:
                readers.append(reader)

        pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        try:
            for run in runs:
                waiting.append(pool.submit(work, run))
                if len(waiting) >= 2 * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for reader in readers:
                reader.close()

    def _images_by_counting(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        convert = Converter(shape)
        wanted = set(rows)
        last = max(wanted, default=-1)
        with open_container(self.path) as container:
            for row, frame in enumerate(decode_all(container, video_stream(container, self.path), self.tally)):
                if row in wanted:
                    yield row, convert(frame)
                if row >= last:
                    return

    def _first_look(self, table: FrameTable) -> tuple[av.VideoFrame, bool]:
        """Decode a few packets: the first frame, and whether the frames that come are those that the table tells."""
        tally = Tally()
        found: list[av.VideoFrame] = []
        fed = 0
        with open_container(self.path) as container:
            stream = video_stream(container, self.path)
            for fed, packet in enumerate(read_packets(container, stream), start=1):
                found += _decode(packet, tally, fed)
                if fed >= _FIRST_LOOK_PACKETS and found:
                    break
            found += _drain(stream)
        if not found:
            raise FormatError(
                f"{self.path}: no frame of its video can be decoded ({self.packets} packets, all damaged)"
            )
        if not table.by_packets or tally.damaged:
            return found[0], table.by_packets
        expected = table.pts[table.packet < fed].tolist()
        return found[0], expected == [frame.pts for frame in found]

    def _key_frames_serve(self, table: FrameTable) -> bool:
        """Whether decoding can begin at the second key frame: with gradual refresh no picture comes there at once."""
        if len(table.keys) < 2:
            return True
        key = int(table.keys[1])
        with Reader(self.path, table, Converter(Shape()), Tally(), threads=1) as reader:
            found = [frame.pts for frame in reader.frames(Run(key, key, ()), skip=False)]
        return bool(found)


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What a video is: size, rate, duration, codec. Reads its packets, decodes only the first.

    Raises InputError, FormatError, MissingModelError (codec).
    """
    return Video(Path(path)).info


def plan(table: FrameTable, rows: Sequence[int]) -> list[Run]:
    """Group wanted rows into runs of packets; a run that would begin inside the one before is joined to it."""
    runs: list[Run] = []
    for row in rows:
        start, stop = table.start_packet(row), int(table.packet[row])
        if runs and (start == runs[-1].start or start <= runs[-1].stop):
            last = runs[-1]
            runs[-1] = Run(min(start, last.start), max(stop, last.stop), (*last.rows, row))
        else:
            runs.append(Run(start, stop, (row,)))
    return runs


class Reader:
    """One decoder over one opened file. It moves forward through the packets, and opens the file anew to go back."""

    def __init__(self, path: Path, table: FrameTable, convert: Converter, tally: Tally, threads: int) -> None:
        self._path, self._table, self._convert, self._tally, self._threads = path, table, convert, tally, threads
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        self._packets: Iterator[av.Packet] = iter(())
        self._next = 0  # number of the packet that comes next

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def images(self, run: Run) -> Iterator[tuple[int, Pixels]]:
        """Yield (row, image) of a run, in order.

        Where something is amiss (damage, or a frame that does not come), the rest of the run is decoded once more
        from a group further back and with nothing passed over, as decoding from the beginning would have it.
        """
        rows = deque(run.rows)
        before = len(self._tally.damaged)
        for frame in self.frames(run, skip=True):
            if not rows or len(self._tally.damaged) > before or _pts(frame) > self._table.pts[rows[0]]:
                break
            if frame.pts == self._table.pts[rows[0]]:
                yield rows.popleft(), self._convert(frame)
        if rows:
            start = self._table.start_packet(rows[0], back=1)
            yield from self._images_again(Run(start, run.stop, tuple(rows)), before)

    def _images_again(self, run: Run, damaged_before: int) -> Iterator[tuple[int, Pixels]]:
        """Take what comes. A wanted frame that its packet did not give shows the frame before, unless by damage."""
        rows = deque(run.rows)
        previous: av.VideoFrame | None = None
        for frame in self.frames(run, skip=False):
            while rows and _pts(frame) > self._table.pts[rows[0]]:
                yield from self._substitute(rows.popleft(), previous, damaged_before)
            if rows and frame.pts == self._table.pts[rows[0]]:
                yield rows.popleft(), self._convert(frame)
            previous = frame
        while rows:
            yield from self._substitute(rows.popleft(), previous, damaged_before)

    def _substitute(
        self, row: int, previous: av.VideoFrame | None, damaged_before: int
    ) -> Iterator[tuple[int, Pixels]]:
        if previous is None or len(self._tally.damaged) > damaged_before:
            self._tally.lost_frames += 1
        else:
            yield row, self._convert(previous)

    def frames(self, run: Run, skip: bool) -> Iterator[av.VideoFrame]:
        """Decode the packets of a run; `skip` passes over frames that are neither wanted nor referred to."""
        stream = self._go_to(run.start)
        context = stream.codec_context
        wanted = {int(self._table.packet[row]) for row in run.rows}
        while self._next <= run.stop:
            packet = next(self._packets, None)
            if packet is None:
                break
            context.skip_frame = "NONREF" if skip and self._next not in wanted else "DEFAULT"
            self._next += 1
            yield from _decode(packet, self._tally, self._next - 1)
        yield from _drain(stream)

    def _go_to(self, number: int) -> VideoStream:
        """Have packet `number` come next, and the decoder ready for a key frame."""
        if self._container is None or self._stream is None or self._next > number:
            self._open()
        assert self._container is not None and self._stream is not None
        self._stream.codec_context.flush_buffers()
        if int(self._table.packet_bytes[self._next : number].sum()) > _SEEK_BYTES and not self._seek(number):
            self._open()
        while self._next < number and next(self._packets, None) is not None:
            self._next += 1
        return self._stream

    def _open(self) -> None:
        self.close()
        self._container = open_container(self._path)
        self._stream = video_stream(self._container, self._path)
        self._stream.codec_context.thread_type = "AUTO"
        self._stream.codec_context.thread_count = self._threads
        self._packets = read_packets(self._container, self._stream)
        self._next = 0

    def _seek(self, number: int) -> bool:
        """Jump to a packet, recognised by its times and size; False where the container cannot find it."""
        assert self._container is not None and self._stream is not None
        expected = (self._table.packet_pts[number], self._table.packet_dts[number], self._table.packet_bytes[number])
        if NO_TIME in expected[:2]:
            return False
        try:
            self._container.seek(int(expected[1]), stream=self._stream)
        except (av.FFmpegError, OSError):
            return False
        packets = read_packets(self._container, self._stream)
        for packet in packets:
            if (packet.pts, packet.dts, packet.size) == expected:
                self._packets, self._next = chain([packet], packets), number
                return True
            if packet.dts is not None and packet.dts > expected[1]:
                break
        return False


def decode_all(container: InputContainer, stream: VideoStream, tally: Tally | None = None) -> Iterator[av.VideoFrame]:
    """Decode every packet in order, going on after damaged ones; what other ways of decoding must agree with."""
    stream.codec_context.thread_type = "AUTO"
    for number, packet in enumerate(read_packets(container, stream)):
        yield from _decode(packet, tally or Tally(), number)
    yield from _drain(stream)


def _decode(packet: av.Packet, tally: Tally, number: int) -> list[av.VideoFrame]:
    if packet.size == 0:  # a dropped frame of an AVI; to the decoder it would mean the end
        return []
    try:
        return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
    except (av.FFmpegError, OSError):
        tally.damaged.add(number)
        return []


def _drain(stream: VideoStream) -> list[av.VideoFrame]:
    """Get the frames that the decoder holds back for reordering."""
    with suppress(av.FFmpegError, OSError):
        return list(stream.codec_context.decode(None))
    return []


def _pts(frame: av.VideoFrame) -> int:
    return NO_TIME if frame.pts is None else frame.pts


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _creation_time(metadata: dict[str, str]) -> datetime | None:
    """The container's clock; cameras without one write 1904 or 1970."""
    try:
        when = parse_utc(metadata.get("creation_time", ""))
    except FormatError:
        return None
    return when if when.year > 1990 else None
