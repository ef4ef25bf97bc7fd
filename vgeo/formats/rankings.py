"""Rankings as JSON: {query: [ids, best first]}, as GAMa publishes them; and sequences of ids, which look the same.

What is ranked for a clip is tiles, for a video regions. A full file (116,000 clips, 1,158 tiles each) has 3 GB of text:
it is read and written query by query, and kept as numbers of distinct ids. A name that ends in .gz is compressed.

Shapes: Q queries, I distinct ids, N ids of all queries in a row, n queries of a chunk.
"""

import gzip
import hashlib
import io
import json
import os
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.streams import atomic_write, is_stdio, open_input
from vgeo.search.members import NONE, Ints

_BLOCK = 2**20  # characters read at a time
_LONGEST_VALUE = 2**24  # characters of one query's list, which take 8 times as many bytes when parsed: 600,000 ids
_MOST_IDS = 2**29  # of all queries: 2 GiB of numbers
_MOST_DISTINCT = 2**25


@dataclass(frozen=True, kw_only=True, eq=False)
class Rankings:
    """For each query, ids in an order. Lists may be of any length, and may hold an id twice."""

    queries: list[str]  # [Q], all different
    ids: list[str]  # [I], all different
    number: NDArray[np.int32]  # [N] of ids
    first: Ints  # [Q+1]; the list of query q is number[first[q]:first[q+1]]

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, query: int) -> list[str]:
        """The list of a query, by its number."""
        return [self.ids[n] for n in self.number[self.first[query] : self.first[query + 1]].tolist()]

    def items(self) -> Iterator[tuple[str, list[str]]]:
        """Queries and their lists."""
        return ((name, self[q]) for q, name in enumerate(self.queries))

    @cached_property
    def lengths(self) -> Ints:
        """How long each query's list is: [Q]."""
        return np.diff(self.first)

    @cached_property
    def digest(self) -> str:
        """sha256 (16 hex digits) over queries and their lists."""
        state = hashlib.sha256(repr((self.queries, self.ids)).encode())
        state.update(self.number.tobytes() + self.first.tobytes())
        return state.hexdigest()[:16]

    def padded(self, queries: Ints, most: int) -> Ints:
        """Numbers of the first `most` ids of some queries, NONE where there are fewer: [n, K <= most]."""
        lengths = np.minimum(self.lengths[queries], most)
        place = np.arange(int(lengths.max(initial=0)))
        there = place < lengths[:, None]
        found = np.full(there.shape, NONE, np.int64)
        found[there] = self.number[(self.first[queries][:, None] + place)[there]]
        return found


def ranked(queries: Sequence[str], ids: Sequence[str], index_QK: NDArray[np.integer]) -> Rankings:  # noqa: N803
    """Rankings from rows of a gallery, NONE where there is nothing more. ids: of the gallery's rows; may repeat."""
    distinct: dict[str, int] = {}
    number_of_row = np.array([distinct.setdefault(name, len(distinct)) for name in ids], np.int32)
    there = index_QK >= 0
    return Rankings(
        queries=list(queries),
        ids=list(distinct),
        number=number_of_row[index_QK[there]],
        first=np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int64),
    )


def read_rankings(path: str | os.PathLike[str]) -> Rankings:
    """Read {query: [ids]}; `-` is stdin. Memory is that of the numbers, 4 bytes an id, and of distinct ids.

    A query's list may be a ranking (clip -> tiles, video -> regions, best first) or a sequence (video -> the tile that
    was best for each of its clips, in order): the caller knows which, the file does not say.
    Raises InputError for no file or no queries, FormatError naming the query.
    """
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__  # an id that is new gets the next number
    queries: dict[str, None] = {}
    flat, lengths = array("i"), [0]
    for query, names in _members(path):
        here = f"{path}: query {query[:80]!r}"
        if query in queries:
            raise FormatError(f"{here} comes twice; which of its lists counts is not said")
        if not isinstance(names, list):
            raise FormatError(f"{here} has {_kind(names)}, not a list of ids")
        if set(map(type, names)) - {str}:
            odd = next(name for name in names if not isinstance(name, str))
            raise FormatError(f"{here} has {_kind(odd)} in its list, not ids")
        queries[query] = None
        flat.extend(map(number.__getitem__, names))
        lengths.append(len(names))
        if len(flat) > _MOST_IDS or len(number) > _MOST_DISTINCT:
            raise FormatError(f"{path}: more than {_MOST_IDS} ids; keep fewer of each query")
    if not queries:
        raise InputError(f"{path}: holds no queries")
    return Rankings(
        queries=list(queries), ids=list(number), number=np.frombuffer(flat, np.int32), first=np.cumsum(lengths)
    )


def write_rankings(path: str | os.PathLike[str], rankings: Rankings) -> None:
    """Write rankings query by query, a line each, atomically; `-` is stdout. The same rankings give the same bytes."""
    if is_stdio(path):
        for piece in _pieces(rankings):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    with atomic_write(path) as file:
        if not os.fspath(path).endswith(".gz"):
            file.writelines(_pieces(rankings))
            return
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            packed.writelines(_pieces(rankings))


def _pieces(rankings: Rankings) -> Iterator[bytes]:
    words = [json.dumps(name, ensure_ascii=False) for name in rankings.ids]
    between = "{\n"
    for q, query in enumerate(rankings.queries):
        numbers = rankings.number[rankings.first[q] : rankings.first[q + 1]].tolist()
        row = ", ".join([words[n] for n in numbers])
        yield f"{between}{json.dumps(query, ensure_ascii=False)}: [{row}]".encode(errors="replace")
        between = ",\n"
    yield b"\n}\n" if len(rankings) else b"{}\n"


def _members(path: str | os.PathLike[str]) -> Iterator[tuple[str, Any]]:
    """Members of the object that a JSON file holds, one after the other. Raises InputError, FormatError."""
    try:
        with _opened(path) as text:
            yield from _Scanner(text, path).members()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise FormatError(f"{path}: a damaged .gz file ({error}); copy it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    if is_stdio(path):
        yield io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig")
    elif os.fspath(path).endswith(".gz"):
        with open_input(path) as packed, gzip.open(packed, "rt", encoding="utf-8-sig") as text:
            yield cast(IO[str], text)
    else:
        with open_input(path) as raw:
            yield io.TextIOWrapper(raw, "utf-8-sig")


class _Scanner:
    """Reads a JSON object from a stream, holding no more of its text than one member."""

    def __init__(self, text: IO[str], where: str | os.PathLike[str]) -> None:
        self._text, self._where = text, where
        self._buffer, self._at, self._ended = "", 0, False
        self._decode = json.JSONDecoder(parse_constant=self._refuse).raw_decode

    def members(self) -> Iterator[tuple[str, Any]]:
        if self._next() != "{":
            raise FormatError(f"{self._where}: not a JSON object of {{query: [ids]}}")
        self._at += 1
        after = ""
        while (letter := self._next()) != "}" or after == ",":
            if letter != '"':
                raise FormatError(f"{self._where}: not JSON after {after or 'its beginning'!r} (a query is expected)")
            query = self._value("a query")
            self._take(":", f"query {query[:80]!r}")
            yield query, self._value(f"query {query[:80]!r}")
            after = query[:80]
            if self._next() != ",":
                break
            self._at, after = self._at + 1, ","
        self._take("}", "the end")
        if self._next():
            raise FormatError(f"{self._where}: goes on after its end; is it two files in one?")

    def _value(self, what: str) -> Any:
        """Decode the value that begins here, reading on until it is whole."""
        self._next()
        while True:
            try:
                value, end = self._decode(self._buffer, self._at)
                break
            except json.JSONDecodeError as error:
                if not self._more(max(_BLOCK, len(self._buffer) - self._at)):
                    raise FormatError(f"{self._where}: not JSON in {what} ({error.msg})") from error
            except (RecursionError, ValueError) as error:
                raise FormatError(f"{self._where}: {what} is no list of ids") from error
            if len(self._buffer) - self._at > _LONGEST_VALUE:
                raise FormatError(
                    f"{self._where}: {what} is no list of ids, or one of more than 16 MB; keep fewer of each query"
                )
        self._at = end
        return value

    def _take(self, letter: str, what: str) -> None:
        if self._next() != letter:
            raise FormatError(f"{self._where}: not JSON, {letter!r} is expected after {what}; is the file whole?")
        self._at += 1

    def _next(self) -> str:
        """The next letter that is no space, "" at the end."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more(_BLOCK):
                return ""

    def _more(self, size: int) -> bool:
        """Drop what is done and read on; False at the end."""
        found = self._text.read(size)
        self._buffer, self._at = self._buffer[self._at :] + found, 0
        return bool(found)

    def _refuse(self, name: str) -> None:
        raise FormatError(f"{self._where}: holds {name}, which is not JSON")


def _kind(value: Any) -> str:
    """What a value is, for a message."""
    names: Iterable[tuple[type, str]] = ((dict, "an object"), (list, "a list"), (bool, "true or false"))
    named = next((name for kind, name in names if isinstance(value, kind)), None)
    return named or ("null" if value is None else f"{str(value)[:40]!r}")
