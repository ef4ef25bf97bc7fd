"""Asking a server for tiles, politely: at a rate, with patience, and no further than it allows."""

import asyncio
import logging
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import responses
from typing import Self

import httpx

from vgeo import __version__
from vgeo.errors import BusyError, FormatError, InputError, ServerError, SettingError, UsageError, first_line

log = logging.getLogger(__name__)

_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_SUCH_TILE = frozenset({204, 404, 410})
_REFUSED = frozenset({401, 403})
_REDIRECTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a server is treated. All defaults are ours."""

    rate_hz: float = 2.0  # requests begun a second, by all workers together
    workers: int = 1  # connections at a time
    retries: int = 4  # of a tile, before it is given up
    timeout_s: float = 30.0  # of one request, from its start to the last byte
    backoff_s: float = 1.0  # before the first retry; doubles with each
    longest_wait_s: float = 300.0  # a server that asks for more patience is left alone until another run
    limit_bytes: int = 8_000_000  # of an answer; 1024 x 1024 pixels as PNG have 3 MB
    follow: bool = False  # redirects to other hosts, too
    contact: str | None = None  # for the server's people, in the User-Agent

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz <= 1000:
            raise UsageError(f"--rate-hz {self.rate_hz:g}: must be above 0, at most 1000 requests a second")
        if not 0 < self.timeout_s < 1e6:
            raise UsageError(f"--timeout-s {self.timeout_s:g}: must be above 0")
        if self.contact is not None and re.search(r"[^ -~]", self.contact):
            raise UsageError("--contact: must be plain ASCII text, such as a mail address")

    @property
    def user_agent(self) -> str:
        """Who asks."""
        return f"vgeo/{__version__}" + (f" ({self.contact})" if self.contact else "")


class _TryAgainError(Exception):
    """What may pass; after_s: how long the server asks to wait, None where it does not say."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class TileServer:
    """A server's tiles; use it as an asynchronous context."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._free_at = 0.0  # the loop's time from which the next request may begin
        self.answered = False  # whether the server has ever said anything

    async def __aenter__(self) -> Self:
        # One deadline covers a whole request, so that no drip of bytes can draw it out: httpx's own are per read.
        self._client = httpx.AsyncClient(
            headers={"User-Agent": self._manners.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=self._manners.workers),
            timeout=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, url: str) -> bytes:
        """The content of an answer of 200.

        Raises InputError where there is no tile, ServerError for what lasts after retries and for redirects to other
        hosts, FormatError for an answer too large; and, which concern all tiles, SettingError where the server says
        that the user may not, BusyError where it asks to come again much later.
        """
        for turn in range(self._manners.retries + 1):
            try:
                return await self._once(url)
            except _TryAgainError as error:
                if turn == self._manners.retries:
                    raise ServerError(f"{error}; given up after {turn + 1} attempts") from error
                await self._wait(error, turn)
        raise AssertionError("unreachable")

    async def _wait(self, error: _TryAgainError, turn: int) -> None:
        """Wait twice as long each time, with jitter, or as long as the server says, and then all workers."""
        wait_s = self._manners.backoff_s * 2**turn * random.uniform(0.5, 1.5)
        if error.after_s is not None:
            if error.after_s > self._manners.longest_wait_s:
                raise BusyError(f"the server asks to come again in {error.after_s:.0f} s ({error}); run again then")
            wait_s = max(wait_s, error.after_s)
            self._free_at = max(self._free_at, asyncio.get_running_loop().time() + wait_s)
        level = logging.INFO if wait_s > 5 else logging.DEBUG
        log.log(level, "%s: asking again in %.0f s", error, wait_s)
        await asyncio.sleep(min(wait_s, self._manners.longest_wait_s))

    async def _once(self, url: str) -> bytes:
        request = self._client.build_request("GET", url)
        for _ in range(_REDIRECTS + 1):
            await self._turn()
            try:
                async with asyncio.timeout(self._manners.timeout_s):
                    answer = await self._ask(request)
            except TimeoutError as error:
                raise _TryAgainError(f"no whole answer within {self._manners.timeout_s:g} s") from error
            except httpx.DecodingError as error:
                raise FormatError(f"an answer that cannot be decoded ({first_line(error)})") from error
            except httpx.TransportError as error:
                raise _TryAgainError(f"no answer ({first_line(error)})") from error
            if isinstance(answer, bytes):
                return answer
            request = answer
        raise ServerError(f"more than {_REDIRECTS} redirects")

    async def _turn(self) -> None:
        """Wait until the next request may begin."""
        loop = asyncio.get_running_loop()
        while (now := loop.time()) < self._free_at:
            await asyncio.sleep(self._free_at - now)
        self._free_at = now + 1 / self._manners.rate_hz

    async def _ask(self, request: httpx.Request) -> bytes | httpx.Request:
        """One answer's content, or where it sends us."""
        response = await self._client.send(request, stream=True)
        try:
            self.answered = True
            if response.next_request is not None:
                return self._followed(request.url, response.next_request)
            _check_status(response)
            return await self._read(response)
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        limit, content = self._manners.limit_bytes, bytearray()
        announced = response.headers.get("Content-Length", "")
        if not (announced.isdecimal() and int(announced) > limit):
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > limit:
                    break
            else:
                return bytes(content)
        raise FormatError(f"an answer of more than {limit / 1e6:g} MB, cut off")

    def _followed(self, here: httpx.URL, there: httpx.Request) -> httpx.Request:
        """The request that a redirect asks for. Raises ServerError where it may not be followed."""
        url = there.url
        if url.scheme not in ("http", "https") or (here.scheme == "https" and url.scheme == "http"):
            raise ServerError(f"redirected from {here.scheme} to {url.scheme[:20]}, which is not followed")
        if not self._manners.follow and (url.host, url.port) != (here.host, here.port):
            raise ServerError(f"redirected to {url.netloc.decode('ascii', 'replace')[:100]}; --follow goes there")
        return there


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    said = f"the server says {status} {responses.get(status, '')}".strip()
    if status in _REFUSED:
        raise SettingError(said)
    if status in _NO_SUCH_TILE:
        raise InputError(f"{said}: there is no such tile")
    if status in _WORTH_ANOTHER_TRY:
        raise _TryAgainError(said, _retry_after_s(response.headers.get("Retry-After", "")))
    raise ServerError(said)


def _retry_after_s(text: str) -> float | None:
    """Retry-After (RFC 9110, 10.2.3) in seconds: a number of them, or a date; None for anything else."""
    if re.fullmatch(r"\s*\d{1,9}\s*", text, re.ASCII):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
