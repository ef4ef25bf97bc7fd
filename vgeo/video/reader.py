"""Decoding runs of packets: one decoder that goes where it is sent and gives the wanted frames in order."""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vgeo.video.container import Tally, decode_packet, drain, open_container, read_packets, video_stream
from vgeo.video.pixels import Converter, Pixels
from vgeo.video.table import NO_TIME, FrameTable

_MAX_REORDER = 16  # frames that H.264 and HEVC can hold back
_GROUPS_BACK = 3  # where damage is decoded again: a group before it may be damaged, too
_REPEAT_BYTES = 64  # at most: a packet that only says that the picture stays (MPEG-4's N-VOP), not one that failed
_SEEK_BYTES = 8 * 2**20  # less than that is read over: a seek is not free, and some containers land elsewhere


@dataclass(frozen=True, slots=True)
class Run:
    """Packets start..stop of which frames `rows` are wanted; decoding begins at `start`."""

    start: int
    stop: int
    rows: tuple[int, ...]


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
    """One decoder over one opened file. It moves forward through the packets, and opens the file anew to go back.

    tally: what happened to it so far.
    """

    def __init__(self, path: Path, table: FrameTable, convert: Converter, threads: int) -> None:
        self._path, self._table, self._convert, self._threads = path, table, convert, threads
        self.tally = Tally()
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        self._packets: Iterator[av.Packet] = iter(())
        self._next = 0  # number of the packet that comes next

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def images(self, run: Run) -> Iterator[tuple[int, Pixels]]:
        """Yield (row, image) of a run, in order.

        Where something is amiss (damage, or a frame that does not come), the rest of the run is decoded once more
        from some groups further back, with nothing passed over and in one thread, as decoding from the beginning would
        have it: after an error, FFmpeg's threads lose packets that are whole, and frames that wait for their turn.
        """
        rows = deque(run.rows)
        before = len(self.tally.damaged)
        for frame in self.frames(run, skip=True):
            amiss = frame.is_corrupt or len(self.tally.damaged) > before
            if not rows or amiss or _pts(frame) > self._table.pts[rows[0]]:
                break
            if frame.pts == self._table.pts[rows[0]]:
                yield rows.popleft(), self._convert(frame)
        if rows:
            start = self._table.start_packet(rows[0], back=_GROUPS_BACK)
            if self._threads != 1:
                self._threads = 1
                self.close()
            yield from self._images_again(Run(start, run.stop, tuple(rows)), before)

    def _images_again(self, run: Run, damaged_before: int) -> Iterator[tuple[int, Pixels]]:
        """Take what comes. A small packet without a picture repeats the frame before, unless there is damage."""
        rows = deque(run.rows)
        previous: av.VideoFrame | None = None
        for frame in _in_order(self.frames(run, skip=False)):
            while rows and _pts(frame) > self._table.pts[rows[0]]:
                yield from self._substitute(rows.popleft(), previous, damaged_before)
            if rows and frame.pts == self._table.pts[rows[0]]:
                if frame.is_corrupt:
                    self.tally.corrupt.add(int(self._table.packet[rows[0]]))
                yield rows.popleft(), self._convert(frame)
            previous = frame
        while rows:
            yield from self._substitute(rows.popleft(), previous, damaged_before)

    def _substitute(
        self, row: int, previous: av.VideoFrame | None, damaged_before: int
    ) -> Iterator[tuple[int, Pixels]]:
        repeats = self._table.packet_bytes[self._table.packet[row]] <= _REPEAT_BYTES
        if previous is None or not repeats or len(self.tally.damaged) > damaged_before:
            self.tally.lost_frames += 1
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
            yield from decode_packet(packet, self.tally, self._next - 1)
        yield from drain(stream, self.tally, self._next - 1)

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


def _in_order(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Put frames in order of time: after damage, decoders let them out of turn."""
    held: list[tuple[int, int, av.VideoFrame]] = []
    for number, frame in enumerate(frames):
        heapq.heappush(held, (_pts(frame), number, frame))
        if len(held) > _MAX_REORDER:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def _pts(frame: av.VideoFrame) -> int:
    return NO_TIME if frame.pts is None else frame.pts
