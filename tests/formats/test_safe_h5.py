"""Hostile and damaged HDF5 is refused in one line; what vgeo writes is read back by h5py itself."""

import hashlib
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from vgeo.errors import FormatError, InputError
from vgeo.formats.safe_h5 import (
    H5Data,
    h5_array,
    h5_strings,
    open_h5,
    read_array,
    read_attributes,
    read_strings,
    write_h5,
)


def written(path: Path) -> Path:
    features = np.arange(6000, dtype="<f2").reshape(100, 60)
    datasets = {
        "features/a:b/c": H5Data(features.shape, features.dtype, lambda: np.array_split(features, 7)),
        "time_s": h5_array([0.0, 1.5]),
        "empty": h5_array(np.zeros((0, 3))),
        "names": h5_strings(["Malmö", "", "東京"]),
    }
    write_h5(path, datasets, {"format": "x", "list": [1, {"a": None}], "unicode": "Å"})
    return path


def test_what_is_written_is_read_by_h5py(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "f.h5")) as file:
        np.testing.assert_array_equal(file["features/a:b/c"][...], np.arange(6000).reshape(100, 60).astype("<f2"))
        assert file["time_s"][...].tolist() == [0.0, 1.5]
        assert file["empty"].shape == (0, 3)
        assert file["names"].asstr()[...].tolist() == ["Malmö", "", "東京"]
        assert file["features/a:b/c"].id.get_offset() % 4096 == 0


def test_own_readers_give_back_what_was_written(tmp_path: Path) -> None:
    with open_h5(written(tmp_path / "f.h5")) as file:
        assert read_strings(file, "names") == ["Malmö", "", "東京"]
        assert read_array(file, "time_s", 1).tolist() == [0.0, 1.5]
        assert read_attributes(file) == {"format": "x", "list": [1, {"a": None}], "unicode": "Å"}
        with pytest.raises(FormatError, match="has no data set nothing"):
            read_array(file, "nothing", 1)
        with pytest.raises(FormatError, match="expected 2"):
            read_array(file, "time_s", 2)


def test_same_content_gives_same_bytes(tmp_path: Path) -> None:
    digests = {hashlib.sha256(written(tmp_path / name).read_bytes()).hexdigest() for name in ("a.h5", "b.h5")}
    assert len(digests) == 1


@pytest.mark.parametrize("rows", [5, 7])
def test_wrong_number_of_rows_is_a_programming_error(tmp_path: Path, rows: int) -> None:
    data = H5Data((6, 2), np.dtype("<f4"), lambda: [np.zeros((rows, 2), "<f4")])
    with pytest.raises(ValueError, match="announced 48"):
        write_h5(tmp_path / "f.h5", {"x": data}, {})
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_small_for_gigabytes(tmp_path: Path) -> None:
    """The skeleton of 40 GB takes kilobytes; writing stops at the first chunk here, so no disk is filled."""

    class EnoughError(Exception):
        pass

    def chunks():  # type: ignore[no-untyped-def]
        yield np.zeros((1000, 1000), "<f2")
        raise EnoughError

    tracemalloc.start()
    with pytest.raises(EnoughError):
        write_h5(tmp_path / "f.h5", {"x": H5Data((20_000_000, 1000), np.dtype("<f2"), chunks)}, {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_an_error_not_a_crash(tmp_path: Path) -> None:
    code = f"""
        import resource
        import numpy as np
        from vgeo.errors import DiskError
        from vgeo.formats.safe_h5 import h5_array, write_h5
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        try:
            write_h5({str(tmp_path / "f.h5")!r}, {{"x": h5_array(np.zeros((4000, 1000)))}}, {{}})
        except DiskError as error:
            print(error)
            raise SystemExit(error.exit_code)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 74, done.stderr
    assert "f.h5: not written, file too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


# --- strangers' files ---


def external_storage(file: h5py.File, folder: Path) -> None:
    (folder / "secret").write_bytes(b"x" * 80)
    file.create_dataset("x", (10,), "f8", external=[(str(folder / "secret"), 0, 80)])


def virtual(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.zeros(10)
    layout = h5py.VirtualLayout((10,), "f8")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (10,))
    file.create_virtual_dataset("x", layout)


def external_link(file: h5py.File, folder: Path) -> None:
    file["x"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File, folder: Path) -> None:
    file["x"] = h5py.SoftLink("/y")


def circle(file: h5py.File, folder: Path) -> None:
    file.create_group("a")["b"] = file["/"]


def two_groups_in_a_circle(file: h5py.File, folder: Path) -> None:
    a = file.create_group("a")
    a.create_group("b")["c"] = a


def one_object_under_two_names(file: h5py.File, folder: Path) -> None:
    """Eight groups of nine names each for the next are 43 million walks through a few kilobytes."""
    group = file
    for _ in range(7):
        inner = group.create_group("0")
        for name in range(1, 9):
            group[str(name)] = inner
        group = inner


def deep(file: h5py.File, folder: Path) -> None:
    file.create_group("/".join("abcdefghijkl"))


def plug_in(file: h5py.File, folder: Path) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((10,))
    creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())  # zstd
    space, kind = h5py.h5s.create_simple((10,)), h5py.h5t.NATIVE_DOUBLE
    h5py.h5d.create(file.id, b"x", kind, space, creation)


def huge_chunked(file: h5py.File, folder: Path) -> None:
    file.create_dataset("x", (10**9, 1000), "f8", chunks=(1000, 1000), compression="gzip")


def huge_contiguous(file: h5py.File, folder: Path) -> None:
    file.create_dataset("x", (10**9, 1000), "f8")  # never written: HDF5 allocates nothing


def many_attributes(file: h5py.File, folder: Path) -> None:
    for i in range(100):
        file.attrs[f"a{i}"] = 1


def references(file: h5py.File, folder: Path) -> None:
    file.create_dataset("x", (10,), h5py.ref_dtype)


def compound(file: h5py.File, folder: Path) -> None:
    file["x"] = np.zeros(3, [("a", "f4"), ("b", "i4")])


def ragged(file: h5py.File, folder: Path) -> None:
    file.create_dataset("x", (10,), h5py.vlen_dtype(np.float64))


def named_type(file: h5py.File, folder: Path) -> None:
    file["x"] = np.dtype("f8")


HOSTILE = [
    external_storage,
    virtual,
    external_link,
    soft_link,
    circle,
    two_groups_in_a_circle,
    one_object_under_two_names,
    deep,
    plug_in,
    huge_chunked,
    huge_contiguous,
    many_attributes,
    references,
    compound,
    ragged,
    named_type,
]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_hostile_files_are_refused(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
    with pytest.raises(FormatError) as caught, open_h5(path):
        pass
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "damaged HDF5 (" not in str(caught.value)  # refused by a check of ours, not by luck


def test_ordinary_h5py_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(1000.0), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("y", data=np.arange(1000), compression="lzf")
        file["names"] = ["a", "Å"] * 50
    with open_h5(path) as file:
        assert read_array(file, "x", 1).sum() == 499500
        assert read_array(file, "y", 1, "i").sum() == 499500
        assert read_strings(file, "names")[:3] == ["a", "Å", "a"]


def test_strings_that_share_one_huge_text_are_refused(tmp_path: Path) -> None:
    """Each of 100,000 variable-length strings points at the same 60 kB: 6 GB out of 2 MB."""
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("names", (100_000,), h5py.string_dtype())
        dataset[0] = "x" * 60_000
        offset = dataset.id.get_offset()
    raw = bytearray(path.read_bytes())
    pointer = bytes(raw[offset : offset + 16])
    raw[offset : offset + 16 * 100_000] = pointer * 100_000
    path.write_bytes(raw)
    with open_h5(path) as file, pytest.raises(FormatError, match="far larger than the file"):
        read_strings(file, "names")


def test_numbers_beyond_the_end_of_the_file_are_refused(tmp_path: Path) -> None:
    """An address changed to lie past the end: whoever maps it into memory would be killed on reading."""
    path = tmp_path / "f.h5"
    # The earliest headers bear no checksums; an odd place, so that its address is found in them once.
    with h5py.File(path, "w", libver="earliest", alignment_threshold=4000, alignment_interval=12345) as file:
        offset = file.create_dataset("x", data=np.arange(1000.0)).id.get_offset()
    raw = path.read_bytes()
    address = offset.to_bytes(8, "little")
    assert raw.count(address) == 1
    for moved in (len(raw) - 7999, len(raw) + 2**40):
        path.write_bytes(raw.replace(address, moved.to_bytes(8, "little")))
        with pytest.raises(FormatError), open_h5(path):
            pass


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_attributes_are_json_that_others_can_read(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_h5(tmp_path / "f.h5", {}, {"a": value})
    assert list(tmp_path.iterdir()) == []


def test_texts_that_hdf5_would_cut_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="NUL"):
        h5_strings(["a", "b\0c"])


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "f.h5").read_bytes()
    for share in (0, 0.01, 0.3, 0.6, 0.99):
        path = tmp_path / "cut.h5"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(FormatError), open_h5(path):
            pass


def test_missing_streams_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.h5", "-", tmp_path):
        with pytest.raises(InputError), open_h5(path):
            pass


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    """300 files with damaged bytes, in a process of their own: each opens or is refused."""
    path = written(tmp_path / "f.h5")
    code = f"""
        import random
        from vgeo.errors import FormatError
        from vgeo.formats.safe_h5 import open_h5, read_array, read_attributes, read_strings
        whole, draw, refused = open({str(path)!r}, "rb").read(), random.Random(1), 0
        headers = [i for i in range(len(whole)) if whole[i]][:3000]
        for _ in range(300):
            raw = bytearray(whole)
            for _ in range(draw.choice((1, 4, 32))):
                raw[draw.choice(headers)] = draw.randrange(256)
            with open({str(path)!r}, "wb") as file:
                file.write(raw)
            try:
                with open_h5({str(path)!r}) as file:
                    read_attributes(file), read_strings(file, "names"), read_array(file, "time_s", 1)
                    read_array(file, "features/a:b/c", 2)
            except FormatError:
                refused += 1
        print(refused)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 100
