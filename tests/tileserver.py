"""A local tile server that behaves as it is told: it serves, limits, fails and lies, and writes down what it was asked.

with serving(lambda ask: PNG) as server:
    server.template            # http://127.0.0.1:PORT/{z}/{x}/{y}.png
    server.asked               # [Ask, ...] in order
"""

import io
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


def picture(kind: str = "PNG", size: tuple[int, int] = (256, 256), seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1] // 32 + 1, size[0] // 32 + 1, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.repeat(32, 0).repeat(32, 1)[: size[1], : size[0]]).save(file, kind)
    return file.getvalue()


PNG = picture()


@dataclass(frozen=True)
class Ask:
    """One request. turn: how often this path was asked for before."""

    path: str
    turn: int
    at_s: float
    agent: str
    peer: int  # the other end's port: one connection, one number


@dataclass(frozen=True)
class Say:
    """An answer; what is not usual is set."""

    body: bytes = PNG
    status: int = 200
    type: str = "image/png"
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # a Content-Length that may lie
    reset: bool = False  # of the connection, before any answer
    silent_s: float = 0.0  # before the answer
    drip_s: float = 0.0  # between any two bytes of the body
    drip_head: bool = False  # the same of the headers


class Server:
    def __init__(self, answer: Callable[[Ask], Say | bytes]) -> None:
        self.asked: list[Ask] = []
        self._turns: Counter[str] = Counter()
        self._answer = answer
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._serve(self)

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]

    @property
    def template(self) -> str:
        return f"http://127.0.0.1:{self.port}/{{z}}/{{x}}/{{y}}.png"

    @property
    def paths(self) -> list[str]:
        return [ask.path for ask in self.asked]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            path = handler.path
            agent = handler.headers.get("User-Agent", "")
            ask = Ask(path, self._turns[path], time.monotonic(), agent, handler.client_address[1])
            self._turns[path] += 1
            self.asked.append(ask)
        say = self._answer(ask)
        with suppress(BrokenPipeError, ConnectionResetError):
            _send(handler, Say(say) if isinstance(say, bytes) else say)


def _send(handler: BaseHTTPRequestHandler, say: Say) -> None:
    time.sleep(say.silent_s)
    if say.reset:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True
        return
    length = len(say.body) if say.length is None else say.length
    head = {"Content-Type": say.type, "Content-Length": str(length)} | say.headers
    lines = [f"HTTP/1.1 {say.status} Said", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    slow, quick = "\r\n".join(lines).encode(), b""
    if not say.drip_head:
        slow, quick = (say.body, slow) if say.drip_s else (b"", slow + say.body)
    handler.wfile.write(quick)
    for number in range(len(slow)):
        handler.wfile.write(slow[number : number + 1])
        handler.wfile.flush()
        time.sleep(say.drip_s)
    if length != len(say.body):
        handler.close_connection = True


@contextmanager
def serving(answer: Callable[[Ask], Say | bytes]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server._http.shutdown()
        server._http.server_close()
