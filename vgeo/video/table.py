"""The table of a video's frames: when each is shown and which packet holds it, read without decoding.

N frames in presentation order, P packets in file (decoding) order.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vgeo.records import Floats
from vgeo.video.container import Tally, decode_all, read_packets

Ints = NDArray[np.int64]
NO_TIME = np.iinfo(np.int64).min
_MOST_STRAYS = 3  # in a row; more are a clock of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTable:
    """Times of all frames. `packet` is empty when the packets do not tell, and the file was decoded to learn them."""

    time_s: Floats  # [N] from the first frame shown, non-decreasing
    duration_s: float  # when the last frame leaves the screen
    pts: Ints  # [N] presentation timestamps in `time_base`
    packet: Ints  # [N] number of the packet that holds the frame; [0] when unknown
    packet_pts: Ints  # [P]
    packet_dts: Ints  # [P]
    packet_bytes: Ints  # [P]
    keys: Ints  # numbers of the packets at which decoding can begin
    time_base: Fraction

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def by_packets(self) -> bool:
        """True when frames can be found without decoding all that precedes them."""
        return len(self.packet) > 0

    def start_packet(self, row: int, back: int = 0) -> int:
        """Packet at which decoding must begin to get frame `row` right, or `back` groups of pictures before it.

        Frames that follow a key frame in the file but are shown before it (the leading pictures of an open group)
        need the group before.
        """
        at = int(np.searchsorted(self.keys, self.packet[row], side="right")) - 1
        if at >= 0 and self.pts[row] < self.packet_pts[self.keys[at]]:
            at -= 1
        at -= back
        return int(self.keys[at]) if at >= 0 else 0


def read_table(
    container: InputContainer, stream: VideoStream, keep_bytes: int = 0
) -> tuple[FrameTable, list[av.Packet] | None]:
    """Read all packets and tell when each frame is shown; `by_packets` is False when they do not say.

    Returns the packets as well, unless they have more than `keep_bytes`.
    """
    kept: list[av.Packet] | None = []
    hides = stream.codec_context.name == "vp8"
    time_base = stream.time_base or Fraction(1, 1000)
    found: list[tuple[int, int, int, bool, bool]] = []
    for packet in read_packets(container, stream):
        stamp = NO_TIME if packet.pts is None else packet.pts
        order = NO_TIME if packet.dts is None else packet.dts
        shown = not packet.is_discard and not (hides and _is_hidden(packet))
        found.append((stamp, order, packet.size, bool(packet.is_keyframe), shown))
        if kept is not None:
            kept.append(packet)
            keep_bytes -= packet.size
            kept = None if keep_bytes < 0 else kept
    packets = np.array(found, np.int64).reshape(-1, 5)
    pts, dts = packets[:, 0], packets[:, 1]
    numbers = np.flatnonzero(packets[:, 4])
    numbers = numbers[np.argsort(pts[numbers], kind="stable")]
    clock_runs = bool((np.diff(dts[dts != NO_TIME]) >= 0).all())  # else recordings were glued together
    if not clock_runs or (pts[numbers] == NO_TIME).any() or (np.diff(pts[numbers]) <= 0).any():
        numbers = numbers[:0]
    time_s = to_seconds(pts[numbers], time_base)
    table = FrameTable(
        time_s=time_s,
        duration_s=_end_s(time_s, stream),
        pts=pts[numbers],
        packet=numbers,
        packet_pts=pts,
        packet_dts=dts,
        packet_bytes=packets[:, 2],
        keys=np.flatnonzero(packets[:, 3]),
        time_base=time_base,
    )
    return table, kept


def read_table_by_decoding(
    container: InputContainer, stream: VideoStream, packets: FrameTable, tally: Tally, threads: int
) -> FrameTable:
    """Decode everything to learn the frames' times; for AVI with B-frames, glued streams and the like."""
    stamps = [(frame.pts, frame.dts) for frame in decode_all(container, stream, tally, threads)]
    period_s = float(1 / stream.average_rate) if stream.average_rate else 0.04
    step = max(1, round(period_s / float(packets.time_base)))
    # AVI has decoding times only, and libav hands them on as presentation times: take the ones that rise.
    row_pts = min((_rising([pair[i] for pair in stamps], step) for i in (0, 1)), key=lambda result: result[1])[0]
    time_s = to_seconds(row_pts, packets.time_base)
    return FrameTable(
        time_s=time_s,
        duration_s=_end_s(time_s, stream),
        pts=row_pts,
        packet=np.zeros(0, np.int64),
        packet_pts=packets.packet_pts,
        packet_dts=packets.packet_dts,
        packet_bytes=packets.packet_bytes,
        keys=packets.keys,
        time_base=packets.time_base,
    )


def _rising(stamps: Sequence[int | None], step: int) -> tuple[Ints, int]:
    """Times made to rise, and how many did not: a clock that starts again or stands still goes on one frame later."""
    stamps, mended = _without_strays(stamps, step)
    times: list[int] = []
    shift = 0
    for stamp in stamps:
        follows = times[-1] + step if times else 0
        now = follows if stamp is None else stamp + shift
        if times and now <= times[-1]:
            shift += follows - now
            now = follows
            mended += 1
        times.append(now)
    return np.array(times, np.int64), mended + sum(stamp is None for stamp in stamps)


def _without_strays(stamps: Sequence[int | None], step: int) -> tuple[list[int | None], int]:
    """Stamps with those set right that, few in a row, stand out of a clock that goes on after them; and how many."""
    rises = _longest_rise(stamps)
    cleaned, strays = list(stamps), 0
    for rising, group in groupby(range(len(stamps)), key=rises.__contains__):
        places = list(group)
        count, after = len(places), places[-1] + 1
        if rising or count > _MOST_STRAYS or after == len(stamps):
            continue
        end = stamps[after] or 0
        begin = end - step * (count + 1) if places[0] == 0 else stamps[places[0] - 1] or 0
        if end - begin > count:
            for number, place in enumerate(places, start=1):
                cleaned[place] = begin + (end - begin) * number // (count + 1)
            strays += count
    return cleaned, strays


def _longest_rise(stamps: Sequence[int | None]) -> set[int]:
    """Places of the longest row of stamps, not all neighbours, that rises."""
    tails, at = list[int](), list[int]()  # the smallest last stamp of such a row of each length, and its place
    before: dict[int, int] = {}
    for place, stamp in enumerate(stamps):
        if stamp is None:
            continue
        length = bisect_left(tails, stamp)
        before[place] = at[length - 1] if length else -1
        if length == len(tails):
            tails.append(stamp)
            at.append(place)
        else:
            tails[length], at[length] = stamp, place
    found, place = set[int](), at[-1] if at else -1
    while place >= 0:
        found.add(place)
        place = before[place]
    return found


def to_seconds(pts: Ints, time_base: Fraction) -> Floats:
    """Presentation times in seconds from the first."""
    if len(pts) == 0:
        return np.zeros(0)
    return (pts - pts[0]).astype(np.float64) * time_base.numerator / time_base.denominator


def _end_s(time_s: Floats, stream: Any) -> float:
    """The last frame stays for as long as frames do on the whole; containers' own durations count other things."""
    if len(time_s) > 1:
        return float(time_s[-1] + np.median(np.diff(time_s)))
    return float(1 / stream.average_rate) if stream.average_rate else 0.04


def _is_hidden(packet: av.Packet) -> bool:
    """True for VP8's alternate reference frames: packets with times of their own, never shown (RFC 6386, 9.1)."""
    return packet.size > 0 and not bytes(packet)[0] >> 4 & 1
