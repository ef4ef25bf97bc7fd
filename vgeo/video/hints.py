"""What a file seems to be that FFmpeg cannot read: a guess for the message, from its first bytes."""

from pathlib import Path

_LOOK_BYTES = 4096
_MOST_BOXES = 1000


def hint(path: Path) -> str:
    """A remark that ends such a message, with its semicolon, or nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(_LOOK_BYTES)
        if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
            return "; it is a web page, as when a download failed"
        if not start.strip(b"\0"):
            return "; it begins with zeros only, as after a crash of the recorder"
        if start[4:8] == b"ftyp":
            found = "damaged" if _has_index(path) else "missing, as when a recording is cut short"
            return f"; its index is {found}"
    except OSError:
        pass
    return ""


def _has_index(path: Path) -> bool:
    """Whether an MP4 has a whole box of that kind (moov)."""
    with path.open("rb") as file:
        for _ in range(_MOST_BOXES):
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:  # the size follows, in 64 bits
                size = int.from_bytes(head[8:16], "big")
            if size < 8 or len(head) < 16:
                return False
            end = file.seek(size - len(head), 1)
            if head[4:8] == b"moov":
                return end <= path.stat().st_size
    return False
