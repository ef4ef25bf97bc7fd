"""Opening a file with libav, safely and quietly, and reading its packets whatever happens on the way.

Only local files are read: a playlist that names network addresses opens nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vgeo.errors import FormatError, InputError, MissingModelError
from vgeo.video.hints import hint

av.logging.set_level(None)  # what libav has to say of damaged files is counted and summarised instead

# Not recordings: playlists that name other files, pictures, and text drawn as video.
_REFUSED_FORMATS = ("hls", "applehttp", "concat", "dash", "sdp", "rtsp", "image2", "tty", "lavfi", "imf", "webvtt")
_MAX_READ_ERRORS = 100  # in a row, without a packet between them


_watchers: list[Callable[[], None]] = []


def watch(call: Callable[[], None]) -> None:
    """Have `call` called for each packet that is read or decoded, in whatever thread."""
    _watchers.append(call)


@dataclass(slots=True)
class Tally:
    """What happened while decoding."""

    damaged: set[int] = field(default_factory=set)  # numbers of packets that the decoder refused
    corrupt: set[int] = field(default_factory=set)  # of those whose pictures it mended by guessing
    lost_frames: int = 0

    def add(self, other: "Tally") -> None:
        """Take in what happened elsewhere."""
        self.damaged |= other.damaged
        self.corrupt |= other.corrupt
        self.lost_frames += other.lost_frames


def open_container(path: Path) -> InputContainer:
    """Open a local media file. Raises InputError if it is not there, FormatError if libav cannot make sense of it."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a video")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise FormatError(f"{path}: not a regular file; copy the recording to disk first")
    try:
        if path.stat().st_size == 0:
            raise FormatError(f"{path}: empty file (0 bytes)")
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read (permission denied)") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise FormatError(f"{path}: not a video that FFmpeg can read ({_reason(error)}{hint(path)})") from error
    names = container.format.name.split(",")
    if any(name in _REFUSED_FORMATS or name.endswith("_pipe") for name in names):
        container.close()
        raise FormatError(f"{path}: {container.format.long_name or names[0]}, not a video recording")
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture. Raises FormatError or MissingModelError (no codec)."""
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            continue
        if stream.codec_context is None:
            raise MissingModelError(f"{path}: its video codec is not in this build of PyAV; convert it with ffmpeg")
        for other in container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all  # not even read, where the container knows where they lie
        return stream
    raise FormatError(f"{path}: has no video in it")


def read_packets(container: InputContainer, stream: Any) -> Iterator[av.Packet]:
    """Yield the packets of one stream in file order, going on after read errors as long as anything comes."""
    errors = 0
    while errors < _MAX_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                for call in _watchers:
                    call()
                if packet.size == 0 and packet.dts is None and packet.pts is None:
                    continue  # PyAV's own end mark, which would drain the decoder
                errors = 0
                yield packet
            return
        except av.EOFError:
            return
        except (av.FFmpegError, OSError, IndexError):  # the last: a damaged file seems to have one more stream
            errors += 1


def decode_all(
    container: InputContainer, stream: VideoStream, tally: Tally | None = None, threads: int = 0
) -> Iterator[av.VideoFrame]:
    """Decode every packet in order, going on after damaged ones; what other ways of decoding must agree with.

    threads: 0 is as many as there are cores; damaged packets cost others with more than 1.
    """
    tally = Tally() if tally is None else tally
    stream.codec_context.thread_type = "AUTO"
    stream.codec_context.thread_count = threads
    number = -1
    for number, packet in enumerate(read_packets(container, stream)):
        yield from decode_packet(packet, tally, number, stream.codec_context)
    yield from drain(stream.codec_context, tally, number)


def decode_packet(packet: av.Packet, tally: Tally, number: int, decoder: VideoCodecContext) -> list[av.VideoFrame]:
    """Give a decoder packet `number`, and get the frames that are ready."""
    if packet.size == 0:  # a dropped frame of an AVI; to the decoder it would mean the end
        return []
    for call in _watchers:
        call()
    try:
        return [frame for frame in decoder.decode(packet) if isinstance(frame, av.VideoFrame)]
    except (av.FFmpegError, OSError):
        tally.damaged.add(number)
        return []


def drain(decoder: VideoCodecContext, tally: Tally, last: int) -> list[av.VideoFrame]:
    """Get the frames that the decoder holds back for reordering, after packet `last`."""
    try:
        return list(decoder.decode(None))
    except (av.FFmpegError, OSError):
        tally.damaged.add(last)
        return []


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
