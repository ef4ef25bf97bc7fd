"""Reading and writing whole files: `-` is a stream, an output under its final name is complete.

Everything that vgeo writes goes through `atomic_write` (a file) or `write_output` (a file or stdout): the bytes
are written beside the target, flushed to disk and renamed, so a kill leaves either the old file or the new one.
"""

import fcntl
import hashlib
import itertools
import json
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, cast

from vgeo.errors import DISK_ERRNOS, BusyError, FormatError, InputError, OutputError, writing_failed
from vgeo.formats import unfinished

STDIO = "-"
# Of files that are parsed in one piece: JSON takes 5 times its size in memory, XML 15 times.
_MOST_BYTES = {".json": 10**8, ".geojson": 10**8, ".gpx": 2**26, ".kml": 2**26, ".xml": 2**26}
_LONGEST_LINE = 10**8
_PIPE_S = 5.0
_CUT = "cut it into several, or give CSV or one JSON text a line (.geojsonl)"
_UNCHANGED = "nothing under that name changed"
LOCK_FILE = ".lock"  # of a folder that one process at a time fills
_NOT_IN_NAMES = re.compile('[\x00-\x1f\x7f/\\\\<>:"|?*\ud800-\udfff]')  # on any file system
_NAME_BYTES = 150  # of the 255 that file systems take: suffixes and the marks of unfinished files are added
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_stdio(path: str | os.PathLike[str]) -> bool:
    """True for `-`."""
    return os.fspath(path) == STDIO


def read_bytes(path: str | os.PathLike[str], limit_bytes: int | None = None) -> bytes:
    """Return a file's content, or stdin's for `-`; refuse more than `limit_bytes`, or a line of more than 100 MB.

    limit_bytes: None goes by the suffix: what is parsed in one piece takes many times its size in memory.
    Raises InputError if there is no such file, FormatError if it is too large to be what is expected.
    """
    if limit_bytes is None:
        limit_bytes = _MOST_BYTES.get(Path(path).suffix.lower(), 2**31)
    if is_stdio(path):
        return _read(sys.stdin.buffer, path, limit_bytes)
    try:
        if os.path.getsize(path) > limit_bytes:  # before any of it is read
            raise _too_large(path, limit_bytes)
        with open_input(path) as file:
            return _read(file, path, limit_bytes)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _too_large(path: str | os.PathLike[str], limit_bytes: int) -> FormatError:
    return FormatError(f"{path}: more than {limit_bytes / 1e6:.0f} MB, too large for a file of this kind; {_CUT}")


def open_input(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file, or a pipe. Raises OSError, and InputError for a pipe that nobody writes to within 5 s."""
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        return open(path, "rb")
    opened: list[int] = []
    waiting = threading.Thread(target=lambda: opened.append(os.open(path, os.O_RDONLY)), daemon=True)
    waiting.start()
    waiting.join(_PIPE_S)
    if waiting.is_alive():
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # a writer, so that the wait ends
        waiting.join()
        os.close(opened[0])
        raise InputError(f"{path}: a pipe that nobody writes to")
    return os.fdopen(opened[0], "rb")


def _read(file: IO[bytes], path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    found: list[bytes] = []
    size = since = 0  # bytes of all, and since the last end of a line
    while chunk := file.read(2**20):
        found.append(chunk)
        size += len(chunk)
        end = chunk.rfind(b"\n")
        since = since + len(chunk) if end < 0 else len(chunk) - end
        if size > limit_bytes:
            raise _too_large(path, limit_bytes)
        if since > _LONGEST_LINE:
            raise FormatError(f"{path}: a line of more than {_LONGEST_LINE / 1e6:.0f} MB; {_CUT}")
    return b"".join(found)


def read_lines(path: str | os.PathLike[str], longest: int = 2**20) -> Iterator[str]:
    """Yield the lines of a text (UTF-8), one after the other, without their ends; `-` is stdin.

    Raises InputError, FormatError for another encoding or a line of more than `longest` bytes.
    """
    try:
        with nullcontext(sys.stdin.buffer) if is_stdio(path) else open_input(path) as file:
            for number in itertools.count(1):
                line = file.readline(longest + 1)
                if not line:
                    return
                if len(line) > longest:
                    raise FormatError(f"{path} line {number}: more than {longest / 1e6:.0f} MB; {_CUT}")
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} line {number}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def lines_of(text: str) -> Iterator[str]:
    """Yield the lines of a text with their ends, as a file does, without a copy of all of it."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def read_text(path: str | os.PathLike[str], limit_bytes: int | None = None) -> str:
    """Return a file's text (UTF-8, with or without a byte order mark). Raises FormatError for other encodings."""
    try:
        return read_bytes(path, limit_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 text (byte {error.start})") from error


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise OutputError if `path` exists and may not be replaced, or its folder cannot hold it. Call before working."""
    if is_stdio(path):
        return
    target = Path(path)
    try:
        there = target.exists()
    except OSError as error:  # such as a name that is too long
        raise OutputError(f"{target}: cannot be created ({error.strerror}); choose another name with --out") from error
    if target.is_dir():
        raise OutputError(f"{target}: is a folder; give a file name")
    if there and not overwrite:
        raise OutputError(f"{target}: exists; use --overwrite to replace it or --out for another name")
    make_folder(target.parent)
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{target.parent}: cannot be written; choose another folder with --out")


def file_name(text: str) -> str:
    """Return a name for a file or folder, whatever the text; a changed one ends in a part of its hash: all differ."""
    safe = _NOT_IN_NAMES.sub("_", text).lstrip(".").encode()[:_NAME_BYTES].decode(errors="ignore")
    return safe if safe == text != "" else f"{safe}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder and its parents. Raises OutputError, DiskError."""
    if is_stdio(path):
        raise OutputError("-: stdout cannot hold a folder; name one with --out")
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{path}: is a file; name a folder") from error
    except OSError as error:
        if error.errno in DISK_ERRNOS:
            raise writing_failed(path, error, "nothing was written there") from error
        raise OutputError(f"{path}: cannot be created ({error.strerror})") from error
    return Path(path)


@contextmanager
def atomic_write(path: str | os.PathLike[str], size: int | None = None) -> Iterator[IO[bytes]]:
    """Yield a binary file that becomes `path` when the block ends without an error, and vanishes otherwise.

    Replaces an existing file: callers that must not, call `check_output` first. size: in bytes, where it is known, for
    the message on a full disk. Raises DiskError or OutputError.
    """
    target = Path(path)
    try:
        handle, temporary = unfinished.begin_file(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be created ({error.strerror})") from error
    written = None
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(target)
            except BaseException:
                written = _size_of(temporary)
                with suppress(OSError):
                    temporary.unlink()
                raise
    except OSError as error:
        raise writing_failed(target, error, _UNCHANGED, size, written) from error
    unfinished.sync_folder(target.parent)


def write_output(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` to a file atomically, or to stdout for `-`."""
    raw = data.encode() if isinstance(data, str) else data
    if is_stdio(path):
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
        return
    with atomic_write(path, len(raw)) as file:
        file.write(raw)


def dump_json(value: Any, indent: int | None = None) -> str:
    """JSON text ending in a newline; NaN and infinity are errors, never output.

    A file name may hold bytes that are no text, which Python keeps as surrogates and JSON cannot hold: they become
    replacement characters.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def parse_json(text: str, where: str | os.PathLike[str]) -> Any:
    """Parse JSON text; refuse NaN and Infinity. Raises FormatError that names `where`."""

    def refuse(name: str) -> None:
        raise FormatError(f"{where}: holds {name}, which is not JSON")

    if len(text) > _LONGEST_LINE:
        raise FormatError(f"{where}: more than {_LONGEST_LINE / 1e6:.0f} MB of JSON in one piece; {_CUT}")
    try:
        return json.loads(text, parse_constant=cast(Callable[[str], Any], refuse))
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from error
    except RecursionError as error:
        raise FormatError(f"{where}: nested too deeply to be data of this kind") from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise FormatError(f"{where}: not JSON that can be read (a number of too many digits)") from error


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def hold_folder(path: Path, doing: str) -> IO[bytes]:
    """Hold a folder for this process; the lock ends with it, or when what is returned is closed.

    doing: what another process does, for people. Raises OutputError, BusyError.
    """
    try:
        file = (path / LOCK_FILE).open("wb")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BusyError(f"{path}: another process {doing}; wait for it or choose another --out") from error
    return file
