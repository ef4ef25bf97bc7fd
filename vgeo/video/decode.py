"""Frames of a video by presentation time, decoding only what they need.

The packets' timestamps tell, before anything is decoded, which packet holds the frame on screen at a time, and at
which key frame decoding has to begin. Only those groups of pictures are decoded, each once, and in them frames that
nothing refers to are passed over unless they are wanted. What comes out equals decoding everything in order.
"""

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import av
import numpy as np

from vgeo.errors import FormatError
from vgeo.formats.threads import cores
from vgeo.records import parse_utc
from vgeo.video.container import Tally, decode_all, decode_packet, drain, open_container, video_stream
from vgeo.video.feed import Feed
from vgeo.video.pixels import Converter, Pixels, Shape, turn_of
from vgeo.video.reader import Reader, Run, plan
from vgeo.video.table import FrameTable, read_table, read_table_by_decoding

log = logging.getLogger(__name__)

_MOST_S = 1e9  # of a recording's time, 31 years: as frames.jsonl has it
_GUESSED_HZ = 25
_FIRST_LOOK_PACKETS = 8  # enough to meet fields, hidden frames and missing references
_MAX_THREADS = 8
_KEPT_BYTES = 32 * 2**20  # of packets: what is no longer is read once only, and a long clip takes no more memory for it
_MAX_AHEAD_BYTES = 256 * 2**20  # of finished frames that wait for their turn


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a container says of its video, and what its packets and first frame show."""

    width: int  # upright
    height: int
    declared_frames: int | None  # by the container's header
    start_utc: datetime | None


class Video:
    """An opened video: its table of frames and what it is. Frames come from `images`.

    remark: what was assumed of it. Raises InputError, FormatError, MissingModelError (codec).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tally = Tally()
        self._wanted: list[int] = []  # rows that were asked for
        self._threads = 0  # of decoding from the beginning to the end
        self._seen: dict[int, av.VideoFrame] = {}  # by row, decoded while the file was looked at
        container = open_container(path)
        stream = video_stream(container, path)
        metadata = {**container.metadata, **stream.metadata}
        declared = stream.frames or None
        table, self._kept = read_table(container, stream, _KEPT_BYTES)
        self.packets = len(table.packet_pts)
        if self.packets == 0:
            raise FormatError(f"{path}: its video has no frames")
        self._feed = Feed(path, table, 1, self._kept, (container, stream))  # for what needs no more than one thread
        first, trusted = self._first_look(table)
        if not (table.by_packets and trusted):
            log.debug("%s: its packets do not tell the frames' times, decoding it to learn them", path)
            table = self._learn(table)
        elif not self._key_frames_serve(table):
            log.debug("%s: its key frames do not show a whole picture at once, decoding from the beginning", path)
            table = replace(table, keys=table.keys[:1])
        if len(table) == 0:
            raise FormatError(f"{path}: no frame of its video can be decoded ({self.packets} packets)")
        self.remark = ""
        if table.time_s[-1] > _MOST_S:
            self.remark = (
                f"its times, which run to {table.time_s[-1]:.2g} s, cannot be; {_GUESSED_HZ} frames a second assumed"
            )
            time_s = np.arange(len(table)) / _GUESSED_HZ
            table = replace(table, time_s=time_s, duration_s=len(table) / _GUESSED_HZ)
        self.table = table
        # The container's time of the first frame shown, which is the clip's time 0.
        self.first_frame_s = float(table.pts[0] * table.time_base)
        turn = turn_of(first)
        width, height = (first.height, first.width) if turn.swaps else (first.width, first.height)
        self.info = VideoInfo(width=width, height=height, declared_frames=declared, start_utc=_creation_time(metadata))

    def close(self) -> None:
        """Close the file; it is opened anew when it is needed."""
        self._feed.close()

    def images(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        """Yield (row, image) for the wanted rows, rising; a frame that cannot be decoded is left out and counted."""
        self._wanted += rows
        if not self.table.by_packets:
            yield from self._images_by_counting(rows, shape)
            return
        runs = plan(self.table, rows)
        seen, self._seen = self._seen, {}
        width, height = shape.of(self.info.width, self.info.height)
        run_bytes = max((len(run.rows) for run in runs), default=1) * width * height * 3
        threads = min(_MAX_THREADS, cores(), len(runs), _MAX_AHEAD_BYTES // (2 * run_bytes))
        if threads > 1:
            yield from self._images_in_parallel(runs, shape, threads, seen)
            return
        reader = Reader(Feed(self.path, self.table, 0, self._kept), self.table, Converter(shape), seen)
        try:
            for run in runs:
                yield from reader.images(run)
        finally:
            self.tally.add(reader.tally)
            reader.feed.close()

    def _images_in_parallel(
        self, runs: list[Run], shape: Shape, threads: int, seen: Mapping[int, av.VideoFrame]
    ) -> Iterator[tuple[int, Pixels]]:
        """Give each thread a decoder of its own: groups of pictures are independent, so nothing is shared."""
        readers = deque([Reader(self._feed, self.table, Converter(shape), seen)])
        waiting: deque[Future[list[tuple[int, Pixels]]]] = deque()

        def work(run: Run) -> list[tuple[int, Pixels]]:
            try:
                reader = readers.popleft()
            except IndexError:
                feed = Feed(self.path, self.table, 1, self._kept)
                reader = Reader(feed, self.table, Converter(shape), seen)
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
                self.tally.add(reader.tally)
                if reader.feed is not self._feed:
                    reader.feed.close()

    def _images_by_counting(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        convert = Converter(shape)
        wanted = set(rows)
        last = max(wanted, default=-1)
        with open_container(self.path) as container:
            stream = video_stream(container, self.path)
            for row, frame in enumerate(decode_all(container, stream, self.tally, self._threads)):
                if row in wanted:
                    if frame.is_corrupt:
                        self.tally.corrupt.add(row)
                    yield row, convert(frame)
                if row >= last:
                    return

    @property
    def doubtful_frames(self) -> int:
        """How many of the frames that came follow damage, before the next key frame: they may show something else."""
        table = self.table
        bad = np.array(sorted(self.tally.damaged | self.tally.corrupt), np.int64)
        if not len(bad):
            return 0
        wanted = np.array(self._wanted, np.int64)
        packets = table.packet[wanted] if table.by_packets else wanted
        keys = table.keys if len(table.keys) else np.zeros(1, np.int64)
        group = np.searchsorted(keys, packets, side="right")
        first_bad = np.searchsorted(bad, np.concatenate([[0], keys]))[group]  # of its group, or of one that follows
        follows = (first_bad < len(bad)) & (bad[np.minimum(first_bad, len(bad) - 1)] <= packets)
        return max(0, int(follows.sum()) - self.tally.lost_frames)

    def _learn(self, table: FrameTable) -> FrameTable:
        """Decode everything for the frames' times: in one thread where damage is met, as `decode_all` says."""
        for self._threads in (0, 1):
            tally = Tally()
            with open_container(self.path) as container:
                stream = video_stream(container, self.path)
                found = read_table_by_decoding(container, stream, table, tally, self._threads)
            if not tally.damaged:
                break
        return found

    def _first_look(self, table: FrameTable) -> tuple[av.VideoFrame, bool]:
        """Decode a few packets: the first frame, and whether the frames that come are those that the table tells."""
        tally = Tally()
        found: list[av.VideoFrame] = []
        decoder = self._feed.go_to(0)
        while (self._feed.next < _FIRST_LOOK_PACKETS or not found) and (packet := self._feed.take()) is not None:
            found += decode_packet(packet, tally, self._feed.next - 1, decoder)
        fed = self._feed.next
        found += drain(decoder, tally, fed)
        if not found:
            raise FormatError(
                f"{self.path}: no frame of its video can be decoded ({self.packets} packets, all damaged)"
            )
        if not table.by_packets or tally.damaged:
            return found[0], table.by_packets
        trusted = table.pts[table.packet < fed].tolist() == [frame.pts for frame in found]
        if trusted and not found[0].is_corrupt:
            self._seen[0] = found[0]
        return found[0], trusted

    def _key_frames_serve(self, table: FrameTable) -> bool:
        """Whether decoding can begin at the second key frame: with gradual refresh no picture comes there at once."""
        if len(table.keys) < 2:
            return True
        key = int(table.keys[1])
        reader = Reader(self._feed, table, Converter(Shape()))
        found = list(reader.frames(Run(key, key, ()), skip=False))
        if len(found) == 1 and not reader.tally.damaged and not found[0].is_corrupt:
            row = int(np.searchsorted(table.pts, found[0].pts or 0))
            if row < len(table) and table.packet[row] == key and table.pts[row] == found[0].pts:
                self._seen[row] = found[0]
        return bool(found) or bool(reader.tally.damaged)


def _creation_time(metadata: dict[str, str]) -> datetime | None:
    """The container's clock; cameras without one write 1904 or 1970."""
    try:
        when = parse_utc(metadata.get("creation_time", ""))
    except FormatError:
        return None
    return when if when.year > 1990 else None
