"""HDF5 files as nobody should send them, given to every command that reads feature files or galleries."""

# ruff: noqa: E501  # a case a line

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from campaign_hostile import Case
from smallworld import TRAIN

Change = Callable[[h5py.File], None]

FEATURES = (
    ("build-gallery", "grid", "bad.h5", "-o", "out.h5"),
    ("build-gallery", "points", "bad.h5", "--keep-features", "-o", "out.h5"),
    ("build-gallery", "cities", "bad.h5", "-o", "out.h5"),
    ("localize", "bad.h5", "-m", "nearest", "-g", "near.h5", "-o", "out.csv"),
    ("score-trajectory", "tracks.geojson", "--truth", "bad.h5"),
    ("sample-clips", "bad.h5", "--per-city", "bad.h5=1", "-o", "out.csv"),
)
GALLERIES = (
    ("localize", "features.h5", "-m", "nearest", "-g", "bad.h5", "-o", "out.csv"),
    ("score-rankings", "ranks.json", "--truth", "truth.csv", "-g", "bad.h5"),
)
TRAINING = (  # slower by much, and like the others
    ("features.h5", ("train", "bad.h5", *TRAIN, "--epochs", "1", "-o", "out")),
    ("near.h5", ("train", "features.h5", *TRAIN[:-1], "bad.h5", "--epochs", "1", "-o", "out")),
)


def cases(world: Path) -> Iterator[Case]:
    """Each file, for each command."""
    given = [("features.h5", args) for args in FEATURES] + [("near.h5", args) for args in GALLERIES]
    for number, (name, (change, says)) in enumerate(CHANGES.items()):
        for base, args in given if number % 8 else [*given, *TRAINING]:
            yield Case(
                    name=f"{name} in {base}", kind="HDF5", make=_changed(world / base, change), args=args, code=(65,),
                    says=says, may_make="out(?!)",
                )  # fmt: skip
    for name, (edit, says) in EDITS.items():
        for base, args in (("features.h5", FEATURES[0]), ("features.h5", FEATURES[3]), ("near.h5", GALLERIES[0])):
            yield Case(
                name=f"{name} in {base}", kind="HDF5", make=_edited(world / base, edit), args=args, code=(65,),
                says=says, may_make="out(?!)",
            )  # fmt: skip
    yield from _of_features(world)


def _changed(base: Path, change: Change) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        shutil.copyfile(base, here / "bad.h5")
        with h5py.File(here / "bad.h5", "r+", libver="latest") as file:
            change(file)

    return make


def _edited(base: Path, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda here: (here / "bad.h5").write_bytes(edit(base.read_bytes())) and None


def _replaced(make: Callable[[h5py.File, str, np.ndarray], object]) -> Change:
    """A change of the latitudes, which all commands read."""

    def change(file: h5py.File) -> None:
        values = file["lat_deg"][...]
        del file["lat_deg"]
        make(file, "lat_deg", values)

    return change


def _external_storage(file: h5py.File, name: str, values: np.ndarray) -> None:
    file.create_dataset(name, values.shape, "<f8", external=[("../secret.bin", 0, values.nbytes)])


def _virtual(file: h5py.File, name: str, values: np.ndarray) -> None:
    layout = h5py.VirtualLayout(values.shape, "<f8")
    layout[:] = h5py.VirtualSource("../secret.h5", "lat_deg", shape=values.shape)
    file.create_virtual_dataset(name, layout)


def _plugin(file: h5py.File, name: str, values: np.ndarray) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk(values.shape)
    creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple(values.shape), creation)


def _deep(file: h5py.File) -> None:
    group = file["/"]
    for _ in range(500):
        group = group.create_group("g")


def _chain(file: h5py.File, name: str, values: np.ndarray) -> None:
    file["end"] = values
    for number in range(20):
        file[f"l{number}"] = h5py.SoftLink("/end" if number == 0 else f"/l{number - 1}")
    file[name] = h5py.SoftLink("/l19")


def _twice(file: h5py.File) -> None:
    for number in range(3):
        file[f"again{number}"] = file["lon_deg"]


def _many(file: h5py.File) -> None:
    for number in range(12_000):
        file.create_group(f"g{number}")


def _many_attributes(file: h5py.File) -> None:
    for number in range(300):
        file["lon_deg"].attrs[f"a{number}"] = number


def _text(name: str, value: str) -> Change:
    return lambda file: file.attrs.create(name, np.bytes_(value.encode()))


def _position(value: float) -> Change:
    def change(file: h5py.File) -> None:
        file["lat_deg"][1] = value

    return change


CHANGES: dict[str, tuple[Change, str]] = {
    "external link": (_replaced(lambda f, n, v: f.__setitem__(n, h5py.ExternalLink("../secret.h5", "/lat_deg"))), "link"),
    "soft link": (_replaced(lambda f, n, v: f.__setitem__(n, h5py.SoftLink("/lon_deg"))), "link"),
    "dangling link": (_replaced(lambda f, n, v: f.__setitem__(n, h5py.SoftLink("/nowhere"))), "link"),
    "chain of links": (_replaced(_chain), "link"),
    "link to itself": (_replaced(lambda f, n, v: f.__setitem__(n, h5py.SoftLink("/lat_deg"))), "link"),
    "external storage": (_replaced(_external_storage), "other files"),
    "virtual data set": (_replaced(_virtual), "other files"),
    "unknown filter": (_replaced(_plugin), "plug-in"),
    "4 TiB declared": (_replaced(lambda f, n, v: f.create_dataset(n, (2**39,), "<f8", chunks=(2**20,))), r"claims \d+.* GB"),
    "one chunk of 3 GiB": (
        _replaced(lambda f, n, v: f.create_dataset(n, (2**28 + 2**27,), "<f8", chunks=(2**28 + 2**27,))), "claims"),
    "zeros packed 1000 times": (
        _replaced(lambda f, n, v: f.create_dataset(n, data=np.zeros(2**24), chunks=(2**20,), compression=9)), "claims"),
    "deep nesting": (_deep, "too deep"),
    "12,000 groups": (_many, "too many"),
    "a group in itself": (lambda f: f.create_group("g").__setitem__("g", f["g"]), "circle"),
    "the root in itself": (lambda f: f.__setitem__("root", f["/"]), "circle"),
    "one data set under many names": (_twice, "too many, too deep or in a circle"),
    "attribute of 8 MB": (lambda f: f["lon_deg"].attrs.create("x", np.zeros(2**20)), "too large"),
    "300 attributes": (_many_attributes, "attributes"),
    "attribute of 10^4 brackets": (_text("format", "[" * 10_000), "nested|JSON"),
    "attribute with a number of 50,000 digits": (_text("format", "9" * 50_000), "digits|JSON"),
    "attribute NaN": (_text("format", "NaN"), "NaN"),
    "another format": (_text("format", '"vgeo-other"'), "not a"),
    "a later version": (_text("version", "99"), "version 99"),
    "compound numbers": (
        _replaced(lambda f, n, v: f.create_dataset(n, v.shape, [("a", "f8"), ("b", "i4")])), "numbers and strings"),
    "references": (_replaced(lambda f, n, v: f.create_dataset(n, v.shape, h5py.ref_dtype)), "numbers and strings"),
    "lists of numbers": (_replaced(lambda f, n, v: f.create_dataset(n, v.shape, h5py.vlen_dtype("i4"))), "numbers and"),
    "a type by name": (lambda f: f.__setitem__("kind", np.dtype("f8")), "neither a group nor"),
    "text for numbers": (_replaced(lambda f, n, v: f.create_dataset(n, data=[b"1"] * len(v))), "lat_deg is"),
    "no shape at all": (_replaced(lambda f, n, v: f.create_dataset(n, dtype="f8")), "null data set"),
    "two dimensions": (_replaced(lambda f, n, v: f.create_dataset(n, data=v[None])), "dimension"),
    "one number too few": (_replaced(lambda f, n, v: f.create_dataset(n, data=v[:-1])), r"\d"),
    "latitude 95": (_position(95), "not on the Earth.* 95"),
    "latitude infinite": (_position(np.inf), "not on the Earth"),
    "missing": (lambda f: f.__delitem__("lon_deg"), "no data set lon_deg"),
}  # fmt: skip

EDITS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in half": (lambda data: data[: len(data) // 2], "cut short|damaged"),
    "cut after 100 bytes": (lambda data: data[:100], "cut short|damaged"),
    "the signature alone": (lambda data: data[:8], "cut short|damaged"),
    "a page of zeros": (lambda data: data[:48] + bytes(400) + data[448:], "cut short|damaged"),
    "noise": (lambda data: data[:8] + np.random.default_rng(0).bytes(len(data)), "cut short|damaged"),
    "moved by 512 bytes": (lambda data: bytes(512) + data, "not an HDF5"),
    "HTML": (lambda data: b"<!DOCTYPE html><html>404</html>", "not an HDF5"),
    "empty": (lambda data: b"", "not an HDF5|empty"),
}


def _of_features(world: Path) -> Iterator[Case]:
    """What only a feature file has."""

    def text(name: str, values: list[bytes], variable: bool = False) -> Change:
        def change(file: h5py.File) -> None:
            del file[name]
            kind = h5py.string_dtype() if variable else None
            file.create_dataset(name, data=values, dtype=kind)

        return change

    def rows(*values: int) -> Change:
        return lambda file: file["first_row"].write_direct(np.array(values, file["first_row"].dtype))

    specs = '[{"name": "../../x", "dim": 1000000000, "weights": "", "weights_hash": "", "preprocessing": "", "settings": {}}]'
    changes: dict[str, tuple[Change, str]] = {
        "names that are no text": (text("video_id", [b"\xff\xfe"] * 3, True), "cannot be read"),
        "a name twice": (text("video_id", [b"a", b"a", b"b"]), "occurs twice"),
        "names in a heap of noise": (_heap_of_noise, "cannot be read|damaged|cut short"),
        "rows that run backwards": (rows(0, 12, 6, 18), "first_row"),
        "rows beyond the end": (rows(0, 2**40, 2**41, 18), "first_row"),
        "rows before the start": (rows(0, -6, 12, 18), "first_row"),
        "encoders of a billion": (_text("encoders", specs), "features/../../x|expected float16|no data set"),
        "encoders that are none": (_text("encoders", '{"a": ["b"]}'), "encoders"),
        "times that are no number": (lambda f: f["time_s"].__setitem__(1, np.nan), "time is not finite"),
    }
    for name, (change, says) in changes.items():
        for args in FEATURES:
            make = _changed(world / "features.h5", change)
            yield Case(name=name, kind="HDF5", make=make, args=args, code=(65,), says=says, may_make="out(?!)")


def _heap_of_noise(file: h5py.File) -> None:
    """Variable-length strings whose pointers lead anywhere."""
    del file["video_id"]
    file.create_dataset("video_id", data=["abc" * 10] * 3, dtype=h5py.string_dtype(), chunks=(3,))
    chunk = np.random.default_rng(3).bytes(48)
    file["video_id"].id.write_direct_chunk((0,), chunk)
