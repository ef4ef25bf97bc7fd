"""HDF5 without its dangers: files of strangers are checked before anything is read, and a full disk cannot crash us.

Reading. HDF5 can name other files (external and soft links, external storage, virtual data sets), load plug-ins
(filters) and claim terabytes in a hundred bytes. vgeo's files need none of this, so `open_h5` refuses it.

Writing. The HDF5 library ends the process with a segmentation fault when the disk is full. `write_h5` therefore lets it
build only the skeleton (a few kilobytes of headers, in memory) and writes the numbers itself, at the places the
skeleton reserves for them: contiguous, uncompressed, so that readers can map them into memory.
"""

import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from vgeo.errors import FormatError, InputError, first_line
from vgeo.formats._sparse import SparseBuffer
from vgeo.formats.streams import atomic_write, is_stdio, parse_json

SIGNATURE = b"\x89HDF\r\n\x1a\n"
BUILT_IN_FILTERS = {1, 2, 3, 5, 6, 32000}  # gzip, shuffle, fletcher32, n-bit, scale-offset and h5py's own lzf
MAX_DEPTH = 8
MAX_OBJECTS = 10_000
MAX_ATTRIBUTES = 64  # an object
MAX_INFLATION = 100  # how much larger than the file its compressed data may claim to be
SMALL_BYTES = 16 * 2**20  # always allowed, however small the file
MAX_ATTRIBUTE_BYTES = 60_000  # what an object header holds
STRING_BATCH_BYTES = 64 * 2**20
ALIGNMENT = 4096  # large data sets begin at a page, where mapping them is cheapest

_POINTER = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class H5Data:
    """A data set to write: its shape and type are known before its numbers are.

    chunks yields arrays that follow each other along the first axis; it is called once.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Callable[[], Iterable[NDArray[Any]]]


def h5_array(values: ArrayLike, dtype: DTypeLike | None = None) -> H5Data:
    """Return a data set that holds an array."""
    array = np.ascontiguousarray(values, dtype)
    return H5Data(array.shape, array.dtype, lambda: [array])


def h5_strings(values: Sequence[str]) -> H5Data:
    """Return a data set of fixed-length UTF-8 strings [N]. Raises FormatError for a text that HDF5 cannot hold."""
    raw = [value.encode(errors="replace") for value in values]  # of file names that are no text
    if any(b"\0" in text for text in raw):
        raise FormatError("a text holds a NUL character, which HDF5 strings cannot hold")
    array = np.array(raw, dtype=f"S{max(map(len, raw), default=0) or 1}")
    return H5Data(array.shape, h5py.string_dtype("utf-8", array.dtype.itemsize), lambda: [array])


# --- writing ---


def write_h5(path: str | os.PathLike[str], datasets: Mapping[str, H5Data], attributes: Mapping[str, Any]) -> None:
    """Write an HDF5 file atomically; the same content gives the same bytes.

    datasets: by path in the file, such as "features/clip". attributes: of the root, stored as JSON text.
    Raises DiskError where the disk is full, OutputError where the file cannot be created.
    """
    skeleton, offsets = _build_skeleton(datasets, attributes)
    with atomic_write(path, skeleton.size) as file:
        for start, page in sorted(skeleton.pages.items()):
            file.seek(start)
            file.write(page[: skeleton.size - start])
        for name, data in datasets.items():
            _write_numbers(file, offsets[name], data, name)
        file.truncate(skeleton.size)


def _write_numbers(file: IO[bytes], offset: int | None, data: H5Data, name: str) -> None:
    expected = math.prod(data.shape) * data.dtype.itemsize
    if offset is None:  # an empty data set has no place
        offset, expected = 0, 0
    file.seek(offset)
    written = 0
    for chunk in data.chunks():
        if chunk.dtype.itemsize != data.dtype.itemsize or chunk.shape[1:] != data.shape[1:]:
            raise ValueError(f"{name}: a chunk is {chunk.dtype} {chunk.shape}, announced {data.dtype} {data.shape}")
        written += chunk.nbytes
        if written > expected:
            break
        file.write(np.ascontiguousarray(chunk).data.cast("B") if chunk.nbytes else b"")
    if written != expected:
        raise ValueError(f"{name}: chunks hold {written} bytes, announced {expected}")


def _build_skeleton(
    datasets: Mapping[str, H5Data], attributes: Mapping[str, Any]
) -> tuple[SparseBuffer, dict[str, int | None]]:
    """Let HDF5 write its headers into memory; return them and the offset of each data set's numbers."""
    buffer = SparseBuffer()
    offsets = {}
    # v108: readable by every HDF5 since 2008, with checksums over the headers.
    with h5py.File(
        buffer, "w", libver=("v108", "v108"), alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT
    ) as file:
        for name, data in datasets.items():
            offsets[name] = _reserve(file, name, data)
        for name, value in sorted(attributes.items()):
            text = json.dumps(value, allow_nan=False, sort_keys=True).encode("ascii")
            if len(text) > MAX_ATTRIBUTE_BYTES:
                raise ValueError(f"attribute {name} takes {len(text)} bytes, at most {MAX_ATTRIBUTE_BYTES} fit")
            file.attrs.create(name, np.bytes_(text))
    return buffer, offsets


def _reserve(file: h5py.File, name: str, data: H5Data) -> int | None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    links.set_char_encoding(h5py.h5t.CSET_UTF8)
    kind, space = h5py.h5t.py_create(data.dtype, logical=True), h5py.h5s.create_simple(data.shape)
    dataset = h5py.h5d.create(file.id, name.encode(), kind, space, creation, lcpl=links)
    offset: int | None = dataset.get_offset()
    return offset


# --- reading ---


@contextmanager
def open_h5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading after checking all of its structure.

    Raises InputError if there is no such file, FormatError if it is not HDF5, damaged or holds what vgeo never reads.
    """
    size = _check_file(path)
    try:
        file = h5py.File(path, "r", locking=False)  # files under their final name are never written again
    except _DAMAGE as error:
        raise FormatError(f"{path}: HDF5 that cannot be opened, damaged or cut short; make it again") from error
    with file:
        try:
            _check_structure(file, path, size)
        except _DAMAGE as error:
            raise FormatError(f"{path}: damaged HDF5 ({first_line(error)}); make it again") from error
        yield file


def read_array(file: h5py.File, name: str, ndim: int, kinds: str = "f") -> NDArray[Any]:
    """Return a data set of a checked file as an array; FormatError where it is missing or of another kind.

    kinds: letters of numpy's dtype kinds that are accepted.
    """
    dataset = find_dataset(file, name, ndim, kinds)
    try:
        return np.asarray(dataset[...])
    except _DAMAGE as error:
        raise FormatError(f"{file.filename}: {name} cannot be read ({first_line(error)}); make it again") from error


def find_dataset(file: h5py.File, name: str, ndim: int, kinds: str = "f") -> h5py.Dataset:
    """Return a data set of a checked file; FormatError where it is missing or of another kind."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"{file.filename}: has no data set {name}; is it a file of another kind?")
    if dataset.ndim != ndim or dataset.dtype.kind not in kinds:
        raise FormatError(f"{file.filename}: {name} is {dataset.dtype} {dataset.shape}, expected {ndim} dimension(s)")
    return dataset


def read_strings(file: h5py.File, name: str) -> list[str]:
    """Return a data set of strings, fixed or variable length, [N]. Raises FormatError.

    Many variable-length strings may point at the same bytes, so they are read in batches whose memory is bounded.
    """
    dataset = find_dataset(file, name, 1, "SO")
    limit = MAX_INFLATION * os.path.getsize(file.filename) + SMALL_BYTES
    variable = dataset.dtype.kind == "O"
    if variable:
        _check_lengths(file, dataset)
    batch = max(1, STRING_BATCH_BYTES // os.path.getsize(file.filename)) if variable else 2**16
    values: list[str] = []
    total = 0
    try:
        for start in range(0, len(dataset), batch):
            texts = [bytes(text) for text in dataset[start : start + batch]]
            total += sum(map(len, texts))
            if total > limit:
                raise FormatError(f"{file.filename}: the strings of {name} are far larger than the file")
            values += [text.decode() for text in texts]
    except _DAMAGE as error:
        raise FormatError(f"{file.filename}: {name} cannot be read ({first_line(error)}); make it again") from error
    return values


def _check_lengths(file: h5py.File, dataset: h5py.Dataset) -> None:
    """Raise FormatError where a string claims to be longer than the file: HDF5 makes room before it looks.

    On disk, each is its length (4 bytes), the heap it lies in (8) and its number there (4).
    """
    size, refused = os.path.getsize(file.filename), f"{file.filename}: {dataset.name} cannot be read"
    creation = dataset.id.get_create_plist()
    if creation.get_nfilters() or creation.get_layout() == h5py.h5d.COMPACT:
        raise FormatError(f"{refused}, its strings are packed; write them with fixed length or unpacked")
    if creation.get_layout() == h5py.h5d.CHUNKED:
        chunks = (dataset.id.get_chunk_info(number) for number in range(dataset.id.get_num_chunks()))
        places = [(chunk.byte_offset, chunk.size) for chunk in chunks]
    else:
        places = [(dataset.id.get_offset() or 0, len(dataset) * _POINTER.itemsize)] if len(dataset) else []
    with open(file.filename, "rb") as raw:
        for offset, length in places:
            raw.seek(offset)
            pointers = np.frombuffer(raw.read(length // _POINTER.itemsize * _POINTER.itemsize), _POINTER)
            if len(pointers) and int(pointers["length"].max()) > size:
                raise FormatError(f"{refused}, a string in it claims more bytes than the file has; make it again")


def read_attributes(file: h5py.File) -> dict[str, Any]:
    """Return the root's attributes that hold JSON text, parsed. Raises FormatError."""
    attributes = {}
    for name in file.attrs:
        try:
            value = file.attrs[name]
        except _DAMAGE as error:
            raise FormatError(f"{file.filename}: attribute {name!r} cannot be read") from error
        if isinstance(value, bytes | str | np.bytes_):
            text = value if isinstance(value, str) else bytes(value).decode(errors="replace")
            attributes[name] = parse_json(text, f"{file.filename}, attribute {name}")
    return attributes


def _check_file(path: str | os.PathLike[str]) -> int:
    if is_stdio(path):
        raise InputError("-: HDF5 cannot be read from a stream; give a file name")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # not even opened: of a pipe that would be waited for
            raise InputError(f"{path}: not a file; HDF5 cannot be read from pipes, devices or folders")
        with open(path, "rb") as file:
            head = file.read(len(SIGNATURE))
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if head != SIGNATURE:
        raise FormatError(f"{path}: not an HDF5 file")
    return size


def _check_structure(file: h5py.File, path: str | os.PathLike[str], size: int) -> None:
    """Walk over every object; raise FormatError for what is hostile and let the library raise for what is damaged."""
    claimed, seen = 0, set[int]()
    waiting: list[tuple[h5py.Group, int]] = [(file["/"], 0)]
    _check_attributes(file["/"], path)
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            where = f"{path}: {group.name.rstrip('/')}/{name}"
            if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
                raise FormatError(f"{where} is a link to another place, which vgeo does not follow")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or depth >= MAX_DEPTH or len(seen) >= MAX_OBJECTS:
                raise FormatError(f"{where}: objects too many, too deep or in a circle for a file of this kind")
            seen.add(address)
            _check_attributes(item, path)
            if isinstance(item, h5py.Group):
                waiting.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                claimed += _check_dataset(item, where, size)
            else:
                raise FormatError(f"{where} is neither a group nor a data set")
    if claimed > MAX_INFLATION * size + SMALL_BYTES:
        raise FormatError(f"{path}: claims {claimed / 1e9:.1f} GB of data in {size / 1e6:.1f} MB")


def _check_attributes(item: h5py.HLObject, path: str | os.PathLike[str]) -> None:
    names = list(item.attrs)
    if len(names) > MAX_ATTRIBUTES:
        raise FormatError(f"{path}: {item.name} has {len(names)} attributes, at most {MAX_ATTRIBUTES} are read")
    for name in names:
        attribute = item.attrs.get_id(name)
        if attribute.shape not in ((), (1,)) and attribute.get_storage_size() > MAX_ATTRIBUTE_BYTES:
            raise FormatError(f"{path}: attribute {name!r} of {item.name} is too large")


def _check_dataset(dataset: h5py.Dataset, where: str, size: int) -> int:
    """Check one data set and return the bytes it claims to hold."""
    creation = dataset.id.get_create_plist()
    layout = creation.get_layout()
    if layout == h5py.h5d.VIRTUAL or (layout == h5py.h5d.CONTIGUOUS and creation.get_external_count()):
        raise FormatError(f"{where} keeps its numbers in other files, which vgeo does not open")
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if filters - BUILT_IN_FILTERS:
        raise FormatError(f"{where} is compressed by a plug-in (filter {max(filters)}); rewrite it with gzip or none")
    variable = dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype) is not None
    if dataset.dtype.kind not in "biufS" and not variable:
        raise FormatError(f"{where} holds {dataset.dtype} values; vgeo reads numbers and strings")
    if dataset.shape is None:
        raise FormatError(f"{where} is a null data set")
    elements = max(math.prod(dataset.shape), math.prod(dataset.chunks or (0,)))
    # On disk, a variable-length string is its length (4 bytes), the heap it lies in (8) and its number there (4).
    claimed = elements * (16 if variable else dataset.id.get_type().get_size())
    if layout == h5py.h5d.CONTIGUOUS and claimed:
        offset = dataset.id.get_offset()
        if offset is None or dataset.id.get_storage_size() != claimed or offset + claimed > size:
            raise FormatError(f"{where} claims {claimed} bytes that the file does not hold; it is cut short or damaged")
    return claimed
