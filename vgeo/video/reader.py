"""Decoding runs of packets: one decoder that goes where it is sent and gives the wanted frames in order."""

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import av

from vgeo.video.container import Tally, decode_packet, drain
from vgeo.video.feed import Feed
from vgeo.video.pixels import Converter, Pixels
from vgeo.video.table import NO_TIME, FrameTable

_MAX_REORDER = 16  # frames that H.264 and HEVC can hold back
_GROUPS_BACK = 3  # where damage is decoded again: a group before it may be damaged, too
_REPEAT_BYTES = 64  # at most: a packet that only says that the picture stays (MPEG-4's N-VOP), not one that failed


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
    """Gives the wanted frames of one run after the other.

    seen: frames that were decoded before, by row. tally: what happened so far.
    """

    def __init__(
        self, feed: Feed, table: FrameTable, convert: Converter, seen: Mapping[int, av.VideoFrame] | None = None
    ) -> None:
        self.feed, self._table, self._convert, self._seen = feed, table, convert, seen or {}
        self.tally = Tally()

    def images(self, run: Run) -> Iterator[tuple[int, Pixels]]:
        """Yield (row, image) of a run, in order.

        Where something is amiss (damage, or a frame that does not come), the rest of the run is decoded once more
        from some groups further back, with nothing passed over and in one thread, as decoding from the beginning would
        have it: after an error, FFmpeg's threads lose packets that are whole, and frames that wait for their turn.
        """
        if len(run.rows) == 1 and run.rows[0] in self._seen:
            yield run.rows[0], self._convert(self._seen[run.rows[0]])
            return
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
            self.feed.use_one_thread()
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
        decoder = self.feed.go_to(run.start)
        wanted = {int(self._table.packet[row]) for row in run.rows}
        while (number := self.feed.next) <= run.stop:
            packet = self.feed.take()
            if packet is None:
                break
            decoder.skip_frame = "NONREF" if skip and number not in wanted else "DEFAULT"
            yield from decode_packet(packet, self.tally, number, decoder)
        yield from drain(decoder, self.tally, self.feed.next - 1)


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
