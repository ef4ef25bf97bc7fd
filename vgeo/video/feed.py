"""The packets of a video from where they are wanted, and the decoder that takes them."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vgeo.video.container import open_container, read_packets, video_stream
from vgeo.video.table import NO_TIME, FrameTable

_SEEK_BYTES = 8 * 2**20  # less than that is read over: a seek is not free, and some containers land elsewhere


class Feed:
    """One decoder over one opened file. It moves forward through the packets, and opens the file anew to go back.

    threads: of the decoder, 0 is as many as there are cores. kept: all packets, where they are in memory already.
    opened: the file, with nothing decoded of it yet; it is closed here.
    """

    def __init__(
        self,
        path: Path,
        table: FrameTable,
        threads: int,
        kept: Sequence[av.Packet] | None = None,
        opened: tuple[InputContainer, VideoStream] | None = None,
    ) -> None:
        self._path, self._table, self._kept = path, table, kept
        self.threads = threads
        self.next = 0  # number of the packet that comes next
        self._packets: Iterator[av.Packet] = iter(())
        self._container: InputContainer | None = None
        if opened is not None:
            self.next = len(table.packet_pts)  # it has been read
            self._use(*opened)

    def close(self) -> None:
        """Close the file; it is opened anew when it is needed."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def take(self) -> av.Packet | None:
        """The next packet, None at the end."""
        packet = next(self._packets, None)
        self.next += packet is not None
        return packet

    def go_to(self, number: int) -> VideoCodecContext:
        """Have packet `number` come next, and return the decoder, ready for a key frame."""
        if self._container is None or (self._kept is None and self.next > number):
            self._open()
        self._context.flush_buffers()
        if self._kept is not None:
            self._packets, self.next = iter(self._kept[number:]), number
        else:
            self._go_on_to(number)
        return self._context

    def use_one_thread(self) -> None:
        """Decode with one thread from now on."""
        if self.threads != 1:
            self.threads = 1
            self.close()

    def _open(self) -> None:
        self.close()
        container = open_container(self._path)
        self._use(container, video_stream(container, self._path))
        self._packets, self.next = read_packets(container, self._stream), 0

    def _use(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream, self._context = container, stream, stream.codec_context
        self._context.thread_type = "AUTO"
        self._context.thread_count = self.threads

    def _go_on_to(self, number: int) -> None:
        if int(self._table.packet_bytes[self.next : number].sum()) > _SEEK_BYTES and not self._seek(number):
            self._open()
        while self.next < number and self.take() is not None:
            continue

    def _seek(self, number: int) -> bool:
        """Jump to a packet, recognised by its times and size; False where the container cannot find it."""
        assert self._container is not None
        table = self._table
        expected = (table.packet_pts[number], table.packet_dts[number], table.packet_bytes[number])
        if NO_TIME in expected[:2]:
            return False
        try:
            self._container.seek(int(expected[1]), stream=self._stream)
        except (av.FFmpegError, OSError):
            return False
        packets = read_packets(self._container, self._stream)
        for packet in packets:
            if (packet.pts, packet.dts, packet.size) == expected:
                self._packets, self.next = chain([packet], packets), number
                return True
            if packet.dts is not None and packet.dts > expected[1]:
                break
        return False
