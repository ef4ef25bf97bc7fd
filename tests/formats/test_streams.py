"""Whole files: complete under their final name, never replaced unasked, and names that any file system takes."""

import errno
import os
import stat
from pathlib import Path

import pytest

from vgeo.errors import DiskError, FormatError, InputError, OutputError
from vgeo.formats.streams import (
    atomic_write,
    check_output,
    dump_json,
    file_name,
    parse_json,
    read_bytes,
    read_text,
    write_output,
)


def test_bytes_are_on_the_disk_before_their_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that reaches the disk before the bytes leaves an empty file after a loss of power."""
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def watched_sync(handle: int) -> None:
        seen = os.fstat(handle)
        steps.append("sync folder" if stat.S_ISDIR(seen.st_mode) else f"sync {seen.st_size} bytes")
        sync(handle)

    def watched_replace(self: Path, target: Path) -> Path:
        steps.append(f"rename to {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_output(tmp_path / "f", "12345")
    assert steps == ["sync 5 bytes", "rename to f", "sync folder"]


def test_until_the_end_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), OSError(errno.EACCES, "no")])
def test_what_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises((type(error), OutputError)), atomic_write(path) as file:
        file.write(b"half")
        raise error
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskError),
        (errno.EDQUOT, DiskError),
        (errno.EFBIG, DiskError),
        (errno.EIO, DiskError),
        (errno.EACCES, OutputError),
    ],
)
def test_a_full_disk_is_told_from_a_forbidden_place(tmp_path: Path, number: int, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, atomic_write(tmp_path / "f"):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number).lower() in str(caught.value)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_may_be_read_by_whom_the_umask_lets(tmp_path: Path, mask: int) -> None:
    """Temporary files are made for their owner alone; finished ones are ordinary."""
    before = os.umask(mask)
    try:
        write_output(tmp_path / "f", "x")
    finally:
        assert os.umask(before) == mask
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o666 & ~mask


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(OutputError, match="exists; use --overwrite"):
        check_output(tmp_path / "f")
    check_output(tmp_path / "f", overwrite=True)
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, overwrite=True)
    check_output(tmp_path / "new" / "f")
    assert (tmp_path / "new").is_dir()
    check_output("-")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [1.0, float("-inf")]}])
def test_what_json_lacks_is_neither_written_nor_read(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json(value)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_what_json_lacks_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"f\.json: holds -?(NaN|Infinity), which is not JSON"):
        parse_json(text, "f.json")


@pytest.mark.parametrize("text", ["{", "[1,]", "[" * 200_000, "1" * 5000])
def test_broken_json_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(FormatError, match=r"^f\.json: ") as caught:
        parse_json(text, "f.json")
    assert "\n" not in str(caught.value)


def test_json_holds_any_file_name() -> None:
    assert dump_json(["Malmö \udcff"]) == '["Malmö \N{REPLACEMENT CHARACTER}"]\n'


def test_text_of_others(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbflat,lon\n")
    assert read_text(path) == "lat,lon\n"  # the mark that spreadsheets put in front is no part of the first column
    path.write_bytes("Malmö".encode("latin-1"))
    with pytest.raises(FormatError, match=r"not UTF-8 text \(byte 4\)"):
        read_text(path)
    with pytest.raises(InputError, match="no such file"):
        read_text(tmp_path / "none")


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    assert read_bytes(path, limit_bytes=5) == b"12345"
    with pytest.raises(FormatError, match="too large"):
        read_bytes(path, limit_bytes=4)


def test_names_of_strangers_stay_in_the_folder() -> None:
    names = [
        "walk 1.mp4",
        "walk (2)",
        "../../etc/x",
        "a/b",
        "a_b",
        ".hidden",
        "Malmö",
        "x" * 300,
        "\N{HIRAGANA LETTER A}" * 85,
        "\ud800",
        "",
    ]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all("/" not in file and not file.startswith(".") and len(file.encode()) < 200 for file in files)
    assert files[:2] == names[:2]
