"""Odd clips: files that are no videos, headers that lie, frames of strange sizes, and names that are traps."""

import gzip
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from clipmaker import make_video
from damagemaker import FRAMES, H264, RATE, SOURCES, Damaged, Recordings
from oddsizes import huge_claims, odd_sizes, size_changes, sounds

_VARIED_MS = np.cumsum(np.random.default_rng(0).integers(20, 110, FRAMES)).tolist()
_VARIED_S = tuple((ms - _VARIED_MS[0]) / 1000 for ms in _VARIED_MS)
_SUFFIXES = ("mp4", "mkv", "ts", "avi", "webm", "mov")


def odd_clips(recordings: Recordings) -> Iterator[Damaged]:
    """All of them."""
    yield from _no_videos()
    yield from _few_bytes()
    yield from sounds()
    yield from _one_frame()
    yield from _turned()
    yield from _varied()
    yield from odd_sizes()
    yield from huge_claims()
    yield from size_changes()
    yield from _lies(recordings)
    yield from _wrong_suffixes(recordings)
    yield from _names(recordings)
    yield from _no_files(recordings)


def _no_videos() -> Iterator[Damaged]:
    html = b"<!DOCTYPE html><html><head><title>404</title></head><body><h1>Not Found</h1></body></html>\n" * 30
    noise = np.random.default_rng(5).bytes(60_000)
    contents = {
        "text": b"the quick brown fox\n" * 500,
        "json": b'{"a": [1, 2, 3]}' * 100,
        "zip": b"PK\x03\x04" + noise[:9000],
        "pdf": b"%PDF-1.7\n" + noise[:9000],
        "elf": b"\x7fELF\x02\x01\x01" + bytes(9) + noise[:9000],
        "gzip": gzip.compress(html, mtime=0),
        "png": b"\x89PNG\r\n\x1a\n" + noise[:900],
        "jpeg": b"\xff\xd8\xff\xe0" + noise[:9000],
        "bmp": b"BM" + noise[:5000],
        "wav": b"RIFF\x24\x10\0\0WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
        + b"data\0\x10\0\0"
        + noise[:4096],
        "flac": b"fLaC" + noise[:5000],
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile good-first.mp4\n",
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "srt": b"1\n00:00:01,000 --> 00:00:02,000\nHi\n\n" * 50,
        "python": Path(__file__).read_bytes(),
        "zeros": bytes(50_000),
        "ones": b"\xff" * 50_000,
        "riff": b"RIFF\xff\xff\xff\xffAVI " + noise[:5000],
        "ebml": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + noise[:5000],
        "ftyp": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + noise[:5000],
        "sync": b"".join(b"\x47" + noise[188 * i : 188 * i + 187] for i in range(200)),
    }
    for suffix in _SUFFIXES:
        yield _file(f"html.{suffix}", "no video", html)
    for number, (name, content) in enumerate(contents.items()):
        yield _file(
            f"{name}.{_SUFFIXES[number % 6] if name in ('zeros', 'ones', 'text') else 'mp4'}", "no video", content
        )
    for suffix in _SUFFIXES:
        yield _file(f"noise.{suffix}", "no video", noise)


def _few_bytes() -> Iterator[Damaged]:
    for suffix in _SUFFIXES:
        yield _file(f"empty.{suffix}", "empty", b"")
    for suffix, content in (("mp4", b"\0"), ("mkv", b"\x1a\x45\xdf\xa3"), ("ts", b"G"), ("avi", b"RIFF")):
        yield _file(f"short.{suffix}", "empty", content)


def _one_frame() -> Iterator[Damaged]:
    made = {"mp4": "libx264", "mkv": "libx264", "ts": "libx264", "avi": "mpeg4", "webm": "libvpx", "mov": "mpeg4"}
    for suffix, codec in {**made, "mpg": "mpeg2video", "m2ts": "libx264"}.items():
        yield Damaged(f"single-{suffix}.{suffix}", "one frame", _video(frames=1, codec=codec))


def _turned() -> Iterator[Damaged]:
    for suffix in ("mp4", "mov"):
        for quarters in (1, 2, 3):
            make = _video(rotation=90 * quarters)
            yield Damaged(f"turned-{quarters}-{suffix}.{suffix}", "rotated", make, turned=quarters, placed=True)
            yield Damaged(
                f"turned-{quarters}-{suffix}-zeroed.{suffix}",
                "rotated, zeroed",
                _zeroed(make),
                turned=quarters,
                placed=True,
            )


def _varied() -> Iterator[Damaged]:
    for suffix in ("mp4", "mkv"):
        make = _video(pts_ms=_VARIED_MS, container_options={"movflags": "+faststart"} if suffix == "mp4" else None)
        whole = Damaged(f"varied-{suffix}.{suffix}", "variable rate", make, times_s=_VARIED_S, placed=True)
        yield whole
        for part in (0.4, 0.8):
            cut = _cut(make, part)
            yield replace(
                whole, name=f"varied-{suffix}-{part}.{suffix}", kind="variable rate, truncated", make=cut, placed=False
            )
        yield replace(
            whole, name=f"varied-{suffix}-zeroed.{suffix}", kind="variable rate, zeroed", make=_zeroed(make),
            placed=suffix == "mp4",
        )  # fmt: skip


def _lies(recordings: Recordings) -> Iterator[Damaged]:
    """Numbers in headers that are not so."""
    for box, at in (("mvhd", 16), ("tkhd", 20), ("mdhd", 16)):
        for value in (0, 1, 2**31, 2**32 - 1):
            yield _patched(
                recordings, "first.mp4", f"{box}-{value}", "lying duration", box, at, ">I", value, placed=True
            )
    for value in (0.0, 1.0, -5.0, 1e30):
        yield _patched(
            recordings, "plain.mkv", f"duration-{value:g}", "lying duration", b"\x44\x89\x88", 0, ">d", value
        )
    for name, at in (("microseconds", 4), ("total-frames", 20)):
        for value in (0, 10**9, 2**32 - 1):
            yield _patched(recordings, "mpeg4.avi", f"{name}-{value}", "lying counts", "avih", at, "<I", value)
    for value in (0, 1, 2**31 - 1):
        yield _patched(recordings, "mpeg4.avi", f"length-{value}", "lying counts", "strh", 36, "<I", value)
    yield from _lying_counts(recordings)


def _lying_counts(recordings: Recordings) -> Iterator[Damaged]:
    for box, at in (("stsz", 12), ("stts", 8), ("ctts", 8), ("stss", 8), ("stco", 8), ("stsc", 8)):
        for value in (0, 7, 10**6, 2**32 - 1):
            yield _patched(
                recordings, "first.mp4", f"{box}-{value}", "lying counts", box, at - 4, ">I", value, timed=False
            )
    for box, at in (("mvhd", 12), ("mdhd", 12), ("stts", 12)):
        yield _patched(recordings, "first.mp4", f"no-rate-{box}", "0 fps", box, at, ">I", 0, timed=False)
    for name, at in (("scale", 24), ("rate", 28)):
        for value in (0, 2**32 - 1):
            yield _patched(recordings, "mpeg4.avi", f"no-{name}-{value}", "0 fps", "strh", at, "<I", value, timed=False)
    for box in ("moov", "trak", "mdia", "stbl", "mdat"):
        for value in (0, 1, 7, 2**32 - 1):
            yield _patched(recordings, "first.mp4", f"size-{box}-{value}", "lying box", box, -8, ">I", value)


def _wrong_suffixes(recordings: Recordings) -> Iterator[Damaged]:
    others = [*_SUFFIXES[1:], *_SUFFIXES[:1]]
    wrong = dict(zip(_SUFFIXES, others, strict=True))
    for source in SOURCES:
        stem, _, suffix = source.partition(".")
        yield Damaged(
            f"{stem}-{suffix}-as.{wrong[suffix]}", "wrong suffix", _copy(recordings, source), source=source, placed=True
        )


def _names(recordings: Recordings) -> Iterator[Damaged]:
    names = (
        "two\nlines.mp4", "-rf.mp4", "a b  c.mp4", "x" * 240 + ".mp4", "%06d.mp4", "http:%2F%2Fa.mp4", "file:a.mp4",
        "concat:a.mp4", "pipe:.mp4", "é中🎥.mp4", "e\u0301.mp4", "tab\there.mp4", "quote'\".mp4", "...mp4",
        "\x1b[31mred.mp4", os.fsdecode(b"not-utf8-\xff\xfe.mp4"), "UPPER.MP4", "CON.mp4", "subfile,,a.mp4", "*.mp4",
        "$(touch x).mp4",
    )  # fmt: skip
    for name in names:
        yield Damaged(
            name, "strange name", _copy(recordings, "first.mp4"), placed=True, listed=not name.startswith(".")
        )


def _no_files(recordings: Recordings) -> Iterator[Damaged]:
    def locked(path: Path) -> None:
        path.write_bytes(recordings.data("first.mp4"))
        path.chmod(0)

    def listening(path: Path) -> None:
        here = socket.socket(socket.AF_UNIX)
        where = os.getcwd()
        try:
            os.chdir(path.parent)  # a socket's path may have 108 bytes
            here.bind(path.name)
        finally:
            os.chdir(where)
            here.close()

    kind = "no file"
    yield Damaged("folder.mp4", kind, lambda path: path.mkdir(), listed=False)
    yield Damaged("gone.mp4", kind, lambda path: path.symlink_to("nowhere.mp4"))
    yield Damaged("loop.mp4", kind, lambda path: path.symlink_to("loop.mp4"))
    yield Damaged("pipe.mp4", kind, os.mkfifo)
    yield Damaged("socket.mp4", kind, listening)
    yield Damaged("zero.mp4", kind, lambda path: path.symlink_to("/dev/zero"))
    yield Damaged("null.mp4", kind, lambda path: path.symlink_to("/dev/null"))
    if os.getuid() == 0:  # who may read everything, and has to become somebody else
        yield Damaged("locked.mp4", "no permission", locked, read_as="nobody")
        yield Damaged("locked.mkv", "no permission", locked, read_as="nobody")
    else:
        yield Damaged("locked.mp4", "no permission", locked)


def _file(name: str, kind: str, content: bytes) -> Damaged:
    lists = ("playlist", "concat", "dash", "sdp")  # of other files, which ffmpeg goes after
    return Damaged(
        name, kind, lambda path: path.write_bytes(content), numbers=False, compared=not name.startswith(lists)
    )


def _patched(
    recordings: Recordings, source: str, name: str, kind: str, mark: str | bytes, at: int, form: str, value: float,
    *, placed: bool = False, timed: bool = True,
) -> Damaged:  # fmt: skip
    """A recording with one number written over, `at` bytes after a mark, at each place where that is."""
    sought = mark.encode() if isinstance(mark, str) else mark

    def make(path: Path) -> None:
        data = bytearray(recordings.data(source))
        place = data.find(sought)
        assert place >= 0, f"no {mark!r} in {source}"
        first = place + len(sought) + at
        data[first : first + struct.calcsize(form)] = struct.pack(form, value)
        path.write_bytes(data)

    suffix = Path(source).suffix
    return Damaged(f"{name}-{suffix[1:]}{suffix}", kind, make, source=source, placed=placed, timed=timed)


def _video(frames: int = FRAMES, codec: str = "libx264", **more: object) -> Callable[[Path], object]:
    options = H264 if codec == "libx264" else {"threads": "1"}
    rate = RATE if codec != "mpeg2video" else 25
    return lambda path: make_video(path, frames=frames, rate=rate, codec=codec, options=options, **more)  # type: ignore[arg-type]


def _copy(recordings: Recordings, source: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(recordings.data(source))


def _cut(make: Callable[[Path], object], part: float) -> Callable[[Path], object]:
    def cut(path: Path) -> None:
        make(path)
        os.truncate(path, int(path.stat().st_size * part))

    return cut


def _zeroed(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def zero(path: Path) -> None:
        make(path)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 1500] = bytes(1500)
        path.write_bytes(data)

    return zero
