"""The process that decodes for another: `python -m vgeo.video.child`, see `children` for who starts it.

It imports NumPy and PyAV (decord where it is asked for). Whatever happens to it is a matter of one clip. It says that
it is alive from its loops over packets, not from a thread of its own: a decoder that hangs must look so.
"""

import json
import logging
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from vgeo.errors import VgeoError
from vgeo.video import container
from vgeo.video.messages import Link, Pulse
from vgeo.video.pixels import Shape
from vgeo.video.recording import VideoSource
from vgeo.video.shelf import Giver

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer requests until the end of standard input. The one argument is JSON, see `children`."""
    settings = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asked
    _die_with(settings["parent"])
    limit_memory(settings["memory_bytes"])
    link = Link(0, _take_stdout())
    _send_logs(link, settings["log_level"])
    container.watch(Pulse(link, settings["pulse_s"]))
    link.send({"is": "ready"})
    server = _Server(link, Giver(link, settings["shared"]))
    try:
        while True:
            words, _ = link.receive()
            server.answer(words)
    except (EOFError, BrokenPipeError):
        os._exit(0)  # nobody is there any more; threads that decode are not waited for


class _Server:
    """Answers requests about one clip at a time, the last that was opened."""

    def __init__(self, link: Link, giver: Giver) -> None:
        self._link, self._giver = link, giver
        self._source: VideoSource | None = None

    def answer(self, words: dict[str, Any]) -> None:
        """Answer one request, an error by its kind and text."""
        try:
            getattr(self, "_" + words.pop("do"))(**words)
        except (BrokenPipeError, EOFError):
            raise
        except VgeoError as error:
            self._link.send({"is": "error", "kind": type(error).__name__, "said": str(error)})
        except MemoryError:
            self._source = None
            self._link.send({"is": "no memory"})
        except OSError as error:
            self._link.send({"is": "os error", "number": error.errno, "said": error.strerror or str(error)})
        except Exception:  # a fault of ours: shown where the other process shows its own
            self._link.send({"is": "fault", "said": traceback.format_exc()})

    def _open(self, path: str, folder: str, decoder: str) -> None:
        if folder:
            os.chdir(decode_path(folder))  # messages name the path as it was given
        source = self._source = VideoSource(Path(decode_path(path)), decoder)
        start = source.start_utc and source.start_utc.isoformat()
        self._link.send(
            {
                "is": "opened", "duration_s": source.duration_s, "declared": source.declared, "start_utc": start,
                "remarks": source.remarks(),
            },
            source.time_s,
        )  # fmt: skip

    def _close(self) -> None:
        """Let go of the file; nobody waits for an answer."""
        if self._source is not None:
            self._source.close()
        self._source = None

    def _carried(self) -> None:
        fixes, remark = self._opened().carried()
        if fixes is None:
            self._link.send({"is": "carried", "fixes": False, "remark": remark})
            return
        start = fixes.start_utc and fixes.start_utc.isoformat()
        table = np.column_stack([fixes.time_s, fixes.latlon_deg])
        self._link.send({"is": "carried", "fixes": True, "remark": remark, "start_utc": start}, table)

    def _images(self, rows: list[int], size: int | None, square: bool) -> None:
        source = self._opened()
        self._giver.images(source.images(rows, Shape(size, square)), most=len(rows))
        self._link.send({"is": "end", "remarks": source.remarks()})

    def _opened(self) -> VideoSource:
        if self._source is None:
            raise RuntimeError("no clip is open")
        return self._source


def encode_path(path: str | Path) -> str:
    """A path as text that JSON can carry, whatever its bytes are."""
    return os.fsencode(path).decode("latin-1")


def decode_path(text: str) -> str:
    """The path that `encode_path` made text of."""
    return os.fsdecode(text.encode("latin-1"))


def limit_memory(most_bytes: int) -> None:
    """Let this process have no more addresses than that, so that FFmpeg is refused memory before all others are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = min((limit for limit in (most_bytes, soft, hard) if limit != resource.RLIM_INFINITY), default=most_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        # Should memory run out all the same, the kernel takes this process first.
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return


def _die_with(parent: int) -> None:
    """Have the kernel end this process with the one that started it, however that ends. Linux; else pipes tell."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(0)


def _take_stdout() -> int:
    """Keep standard output for messages: what libraries print there goes nowhere."""
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return kept


def _send_logs(link: Link, level: int) -> None:
    class Sender(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            link.send({"is": "log", "logger": record.name, "level": record.levelno, "said": record.getMessage()})

    logger = logging.getLogger("vgeo")
    logger.addHandler(Sender())
    logger.setLevel(level)
    logger.propagate = False


if __name__ == "__main__":
    main()
