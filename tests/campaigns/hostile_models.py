"""Models of strangers: weights that are code, lie about themselves or do not fit, and configurations that ask for code."""

# ruff: noqa: E501  # a case a line

import io
import json
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from campaign_hostile import Case

_PWN = "touch pwned; cat ../secret.txt"
LOCALIZE = ("localize", "features.h5", "--model", "model", "-g", "grid.h5", "-o", "out.csv", "--offline")
_CLIP = ("precompute-features", "frames", "-e", "clip", "--weights", "clip=model", "-o", "out.h5", "--device", "cpu")
Header = dict[str, Any]


class Evil:
    """Unpickled, it runs a command."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, (_PWN,)


def cases(world: Path) -> Iterator[Case]:
    """A model folder changed in one way; weights of an encoder; weights of a classifier of scenes."""
    for name, (change, says) in WEIGHTS.items():
        yield _of_folder(world, name, "model.safetensors", change, says)
    for name, (edit, says) in CONFIGS.items():
        yield _of_folder(world, name, "config.json", _edited(edit), says)
    for name, (config, says) in ENCODERS.items():
        yield Case(
            name=name, kind="models", make=_encoder(config), args=_CLIP, code=(65, 69), says=says, libraries_mb=150
        )
    yield from _scenes()


def _of_folder(world: Path, name: str, file: str, change: Callable[[bytes], bytes], says: str) -> Case:
    def make(here: Path) -> None:
        shutil.copytree(world / "models" / "geoclip", here / "model")
        path = here / "model" / file
        path.write_bytes(change(path.read_bytes()))

    return Case(name=name, kind="models", make=make, args=LOCALIZE, code=(65, 66, 78), says=says)


# --- weights ---


def _header(edit: Callable[[Header], Header]) -> Callable[[bytes], bytes]:
    """A change of what safetensors says of its tensors."""

    def change(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        text = json.dumps(edit(json.loads(data[8 : 8 + length]))).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return change


def _first(header: Header, **values: Any) -> Header:
    """Change the first tensor."""
    name = next(name for name in header if name != "__metadata__")
    return header | {name: header[name] | values}


def _overlapping(header: Header) -> Header:
    names = [name for name in header if name != "__metadata__"]
    return header | {names[1]: header[names[1]] | {"data_offsets": header[names[0]]["data_offsets"]}}


def _numbers(value: float) -> Callable[[bytes], bytes]:
    """The last number of all."""
    return lambda data: data[:-4] + struct.pack("<f", value)


def _legacy() -> bytes:
    import pickle as plain

    return plain.dumps({"state_dict": Evil()})


def _zipped() -> bytes:
    """A .pth as torch writes it, whose pickle runs a command."""
    import zipfile

    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil(), protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return data.getvalue()


WEIGHTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a pickle, renamed": (lambda data: _legacy(), "not a sound safetensors"),
    "a .pth, renamed": (lambda data: _zipped(), "not a sound safetensors"),
    "a header of 200 MB": (
        lambda data: struct.pack("<Q", 2 * 10**8) + b'{"a":"' + b" " * (2 * 10**8 - 8) + b'"}', "not a sound safetensors"),
    "a header that claims 2^63 bytes": (lambda data: struct.pack("<Q", 2**63) + data[8:], "not a sound safetensors"),
    "a header of 10^5 brackets": (lambda data: struct.pack("<Q", 10**5) + b"[" * 10**5, "not a sound safetensors"),
    "overlapping offsets": (_header(_overlapping), "not a sound safetensors"),
    "offsets beyond the end": (_header(lambda h: _first(h, data_offsets=[0, 2**40])), "not a sound safetensors"),
    "offsets that run backwards": (_header(lambda h: _first(h, data_offsets=[400, 0])), "not a sound safetensors"),
    "a shape of 2^60": (_header(lambda h: _first(h, shape=[2**30, 2**30])), "not a sound safetensors"),
    "a negative shape": (_header(lambda h: _first(h, shape=[-1, -1])), "not a sound safetensors"),
    "an unknown type": (_header(lambda h: _first(h, dtype="F9000")), "not a sound safetensors"),
    "a tensor by another name": (
        _header(lambda h: {("../../x" if i == 1 else name): h[name] for i, name in enumerate(h)}), "do not belong|damaged"),
    "cut in half": (lambda data: data[: len(data) // 2], "not a sound safetensors"),
    "empty": (lambda data: b"", "not a sound safetensors"),
    "a weight that is NaN": (_numbers(float("nan")), "NaN or infinity"),
    "a weight that is infinite": (_numbers(float("inf")), "NaN or infinity"),
    "a weight that is another": (_numbers(7.0), "do not belong|damaged"),
}  # fmt: skip


# --- configurations ---


def _edited(edit: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        made = edit(json.loads(data))
        return made if isinstance(made, bytes) else json.dumps(made).encode()

    return change


def _set(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda head: head | values


def _setting(**values: Any) -> Callable[[dict[str, Any]], Any]:
    """Settings changed, and the hash made to fit: what a stranger can do."""

    def edit(head: dict[str, Any]) -> dict[str, Any]:
        return head | {"settings": head["settings"] | values}

    return edit


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "method os.system": (_set(method="os.system"), "method|do not belong"),
    "method ../../x": (_set(method="../../x"), "method|do not belong"),
    "method of 10^5 letters": (_set(method="x" * 10**5), "method|do not belong"),
    "method that is a list": (_set(method=["geoclip"]), "'method' is missing"),
    "code in a setting": (_setting(init="__import__('os').system('touch pwned')"), "do not belong|init"),
    "a negative size": (_setting(embed_dim=-16), "do not belong|embed_dim"),
    "a size of 10^9": (_setting(embed_dim=10**9, image_width=10**9), "do not belong|embed_dim"),
    "trust_remote_code": (_set(settings={"trust_remote_code": True}), "do not belong|trust_remote_code"),
    "encoders that are none": (_set(encoders={"gist": {"auto_map": "x--y"}}), "encoders"),
    "a hash of another": (_set(hash="0" * 16), "do not belong"),
    "10^5 brackets": (lambda head: b"[" * 10**5, "nested|JSON"),
    "8 MB of blanks": (lambda head: json.dumps(head).encode() + b" " * 2**23, "too large"),
    "a number that never ends": (lambda head: b'{"format": ' + b"9" * 10**5 + b"}", "digits"),
    "NaN": (lambda head: b'{"format": NaN}', "NaN"),
    "not an object": (lambda head: b'"vgeo-model"', "does not describe"),
    "a later version": (_set(version=99), "version 99"),
    "UTF-16": (lambda head: json.dumps(head).encode("utf-16"), "UTF-8"),
}

_VISION = {"model_type": "clip_vision_model", "architectures": ["CLIPVisionModelWithProjection"], "hidden_size": 32,
           "intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 224,
           "patch_size": 32, "projection_dim": 16}  # fmt: skip
ENCODERS: dict[str, tuple[bytes, str]] = {
    "an encoder with auto_map": (
        json.dumps({**_VISION, "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
                    "trust_remote_code": True, "model_type": "evil"}).encode(), "model|loadable"),
    "an encoder of another's code": (
        json.dumps({**_VISION, "auto_map": {"AutoModel": "http://127.0.0.1:9/x--evil.Model"}}).encode(), "model|loadable"),
    "an encoder of negative size": (json.dumps({**_VISION, "hidden_size": -32}).encode(), "model|loadable"),
    "an encoder of 10^7 layers": (json.dumps({**_VISION, "num_hidden_layers": 10**7}).encode(), "model|loadable"),
    "an encoder of 2^40 numbers": (json.dumps({**_VISION, "hidden_size": 2**20, "intermediate_size": 2**20}).encode(),
                                   "model|loadable"),
    "an encoder of 10^5 brackets": (b"[" * 10**5, "model|loadable|nested|JSON"),
    "an encoder of noise": (np.random.default_rng(0).bytes(999), "model|loadable|JSON|UTF"),
}  # fmt: skip


def _encoder(config: bytes) -> Callable[[Path], None]:
    """A folder as of the hub, with Python in it."""

    def make(here: Path) -> None:
        from safetensors.numpy import save

        folder = here / "model"
        folder.mkdir()
        (folder / "config.json").write_bytes(config)
        (folder / "model.safetensors").write_bytes(save({"x": np.zeros(3, np.float32)}))
        (folder / "evil.py").write_text(f"import os\nos.system({_PWN!r})\n")
        (folder / "pytorch_model.bin").write_bytes(_zipped())

    return make


def _scenes() -> Iterator[Case]:
    """Classifiers of scenes come as .pth from anybody's page."""
    for name, data in {
        "a .pth that runs a command": _zipped(), "an old .pth that runs a command": _legacy(),
        "a web page for a .pth": b"<!DOCTYPE html>", "a cut .pth": _zipped()[:300], "an empty .pth": b"",
    }.items():  # fmt: skip

        def make(here: Path, data: bytes = data) -> None:
            from scenemaker import memberships, write_groups

            (here / "evil.pth.tar").write_bytes(data)
            write_groups(here / "groups.csv", memberships())

        args = ("label-scenes", "frames", "--classifier", "evil.pth.tar", "--groups", "groups.csv", "-o", "out.csv")
        yield Case(name=name, kind="models", make=make, args=args, code=(65,), says="evil.pth.tar")
