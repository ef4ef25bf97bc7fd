"""What can go wrong, as a user meets it: one line that says what, where and the next step, and an exit code.

Stages and formats raise these; `cli.py` turns them into text once. The codes are those of sysexits.h where
it has one.
"""

import errno
import os
from contextlib import suppress
from typing import ClassVar

OK = 0
USAGE = 2
SOME_FAILED = 3  # finished, but some inputs of the batch failed
BAD_DATA = 65
NO_INPUT = 66
UNAVAILABLE = 69  # a model, package or codec is missing, a server does not answer, memory is not enough
INTERNAL = 70
CANNOT_CREATE = 73
IO_ERROR = 74  # disk full and other I/O
BUSY = 75
CONFIG = 78
INTERRUPTED = 130
BROKEN_PIPE = 141


class VgeoError(Exception):
    """Base of every error that a user can cause or mend."""

    exit_code: ClassVar[int] = INTERNAL


class UsageError(VgeoError):
    """The command's words do not fit together."""

    exit_code = USAGE


class FormatError(VgeoError):
    """A file is there but its content is damaged, hostile or not what it claims."""

    exit_code = BAD_DATA


class InputError(VgeoError):
    """There is no such input, or nothing usable in it."""

    exit_code = NO_INPUT


class MissingModelError(VgeoError):
    """Weights, a package or a codec are not here; the message names the command that brings them."""

    exit_code = UNAVAILABLE


class ServerError(VgeoError):
    """A server does not answer, or not with what it was asked for."""

    exit_code = UNAVAILABLE


class OutputError(VgeoError):
    """The output cannot be created: it exists, or the folder cannot be written."""

    exit_code = CANNOT_CREATE


class DiskError(VgeoError):
    """Reading or writing failed underneath: disk full, quota, file-size limit."""

    exit_code = IO_ERROR
    reason: str = ""  # what the system said, and the bytes that it is about


class BusyError(VgeoError):
    """Another process works on the same output."""

    exit_code = BUSY


class SettingError(VgeoError):
    """A setting is unknown, has the wrong type, or differs from what a file was made with."""

    exit_code = CONFIG


def first_line(error: BaseException) -> str:
    """The first line of what another library says, kept short enough to stand inside a line of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


NO_MEMORY = (
    "out of memory; what was finished is kept: end other programs, raise the limit (ulimit -v, or the job's), or ask "
    "for less at once (--batch-size, --workers, fewer inputs), and run the same command again"
)
_NO_MEMORY_SAID = (
    *("can't allocate memory", "cannot allocate memory", "out of memory", "not enough memory", "bad_alloc"),
    *("failed to map segment", "can't start new thread"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: libraries say so in their own ways, also while they are being loaded."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | ImportError) and any(words in said for words in _NO_MEMORY_SAID)


FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_ERRNOS = (*FULL_ERRNOS, errno.EIO)


def writing_failed(
    path: str | os.PathLike[str], error: OSError, kept: str, needed: int | None = None, written: int | None = None
) -> DiskError | OutputError:
    """What a failed write is to the user: the disk's fault, with `kept` saying what is still there, or the place's.

    needed: bytes of the whole output; written: those that found room, where the whole is not known.
    """
    said = (error.strerror or str(error)).lower()
    if error.errno not in DISK_ERRNOS:
        return OutputError(f"{path}: cannot be written ({said})")
    facts = [f"{needed} bytes needed"] if needed is not None else []
    facts += [f"{written} bytes written"] if needed is None and written is not None else []
    facts += _room(path, error)
    reason = said + (f" ({', '.join(facts)})" if facts else "")
    failure = DiskError(f"{path}: not written, {reason}; {kept}")
    failure.reason = reason
    return failure


def _room(path: str | os.PathLike[str], error: OSError) -> list[str]:
    """How many bytes there is room for, where the system tells."""
    import resource  # Unix alone has it, as it has these limits

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if error.errno == errno.EFBIG and limit != resource.RLIM_INFINITY:
        return [f"{limit} allowed by 'ulimit -f'"]
    folder = os.path.dirname(os.path.abspath(path))
    with suppress(OSError):
        state = os.statvfs(folder)
        return [f"{state.f_bavail * state.f_frsize} free"]
    return []
