"""Model folders: what is written comes back; damage, traps and kills do not pass."""

import json
import os
import pickle
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, OutputError
from vgeo.formats.checkpoints import (
    CONFIG,
    WEIGHTS,
    atomic_folder,
    load_pth,
    load_safetensors,
    model_hash,
    read_model,
    save_model,
)

SPEC = EncoderSpec(name="gist", dim=4, weights="none", weights_hash="none", preprocessing="as is", settings={})
STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)}


def save(folder: Path, **changes: object) -> str:
    given: dict = {"method": "nearest", "config": {"temperature": 0.5}, "encoders": {"gist": SPEC}, "state": STATE}
    return save_model(folder, **(given | changes))


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    digest = save(
        tmp_path / "models" / "m",
        extra={"epochs": 3},
        write_more=lambda folder: (folder / "gallery.h5").write_bytes(b"x"),
    )
    files = read_model(tmp_path / "models" / "m")
    assert files.hash == digest
    assert (files.method, files.config, files.encoders) == ("nearest", {"temperature": 0.5}, {"gist": SPEC})
    assert files.extra == {"epochs": 3}
    assert files.gallery == tmp_path / "models" / "m" / "gallery.h5"
    assert all(torch.equal(files.state[name], tensor) for name, tensor in STATE.items())
    card = (tmp_path / "models" / "m" / "README.md").read_text()
    assert digest in card
    assert "epochs: 3" in card


def test_the_hash_sees_every_change() -> None:
    hashes = {
        model_hash("m", {"x": 1}, STATE),
        model_hash("n", {"x": 1}, STATE),
        model_hash("m", {"x": 2}, STATE),
        model_hash("m", {"x": 1}, STATE | {"b": torch.tensor(4)}),
        model_hash("m", {"x": 1}, STATE | {"a.weight": STATE["a.weight"].reshape(3, 2)}),
        model_hash("m", {"x": 1}, STATE | {"a.weight": STATE["a.weight"].to(torch.bfloat16)}),
    }
    assert len(hashes) == 6
    assert model_hash("m", {"x": 1}, dict(reversed(STATE.items()))) in hashes


def test_replacing_is_one_step_and_a_failure_keeps_the_old(tmp_path: Path) -> None:
    save(tmp_path / "m")
    save(tmp_path / "m", config={"temperature": 0.7})
    assert read_model(tmp_path / "m").config == {"temperature": 0.7}

    def fail(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match=r"(?i)no space"):
        save(tmp_path / "m", config={"temperature": 0.9}, write_more=fail)
    assert read_model(tmp_path / "m").config == {"temperature": 0.7}
    assert os.listdir(tmp_path) == ["m"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError), atomic_folder(tmp_path / "file" / "m"):
        pass


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (CONFIG, b"not json"),
        (CONFIG, b"[]"),
        (CONFIG, b'{"format": "vgeo-model", "version": 1}'),
        (CONFIG, b'{"format": "vgeo-model", "version": 99}'),
        (CONFIG, b"\xff\xfe"),
        (WEIGHTS, b""),
        (WEIGHTS, b"\x00" * 100),
        (WEIGHTS, struct.pack("<Q", 2**62) + b"{}"),
        (WEIGHTS, struct.pack("<Q", 2) + b"{}"),  # sound, but other tensors than the config's hash names
        (
            WEIGHTS,
            struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9999],"data_offsets":[0,4]}}'.ljust(60) + b"1234",
        ),
    ],
)
def test_damage_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / name).write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_model(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_truncated_and_bit_flipped_weights(tmp_path: Path) -> None:
    save(tmp_path / "m")
    path = tmp_path / "m" / WEIGHTS
    sound = path.read_bytes()
    for damaged in (sound[:-4], sound[:-1] + bytes([sound[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(FormatError):
            read_model(tmp_path / "m")


def test_encoders_of_another_shape(tmp_path: Path) -> None:
    save(tmp_path / "m")
    config = tmp_path / "m" / CONFIG
    head = json.loads(config.read_text())
    head["encoders"] = {"gist": {"name": "gist"}}
    config.write_text(json.dumps(head))
    with pytest.raises(FormatError, match="encoders"):
        read_model(tmp_path / "m")


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "m", state={"w": torch.tensor([1.0, float("nan")])})
    with pytest.raises(FormatError, match="NaN"):
        load_safetensors(tmp_path / "m" / WEIGHTS)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vgeo train"):
        read_model(tmp_path)


def test_pth_tensors_only(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pth")
    assert torch.equal(load_pth(tmp_path / "w.pth")["w"], torch.ones(2))
    torch.save(torch.tensor(3.5), tmp_path / "s.pth")
    assert load_pth(tmp_path / "s.pth")[""].item() == 3.5
    with pytest.raises(InputError):
        load_pth(tmp_path / "none.pth")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.mark}'",)


def test_every_file_is_on_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after, sync = [], [], os.fsync

    def watched(handle: int) -> None:
        (after if (tmp_path / "m").exists() else before).append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    save(tmp_path / "m")
    assert sorted(Path(path).name for path in before[:-1]) == sorted(file.name for file in (tmp_path / "m").iterdir())
    assert Path(before[-1]).name.startswith(".m."), "the names in it"
    assert after == [str(tmp_path)], "its own name"


def test_a_small_pth_that_unfolds_to_much_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    assert load_pth(tmp_path / "plain.pth")["w"].shape == (10**6,)
    with pytest.raises(FormatError, match="much more than its size"):
        load_pth(tmp_path / "small.pth")


def test_pth_traps(tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "went-off")
    torch.save({"w": bomb}, tmp_path / "code.pth")
    torch.save({"w": "text"}, tmp_path / "text.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(bomb))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "list.pth").read_bytes()[:200])
    with zipfile.ZipFile(tmp_path / "zip.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"0" * 10**6)
    for path in sorted(tmp_path.glob("*.pth")):
        with pytest.raises(FormatError):
            load_pth(path)
    assert not bomb.mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_pth_is_an_error_of_its_own(tmp_path: Path) -> None:
    """Bytes of the pickle inside are changed, and the archive around it is whole: its own checks see nothing."""
    torch.save({"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}, tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (program,) = [name for name in members if name.endswith("data.pkl")]
    rng = np.random.default_rng(0)
    for _ in range(600):
        bad = bytearray(members[program])
        bad[rng.integers(len(bad))] = rng.integers(256)
        with zipfile.ZipFile(tmp_path / "bad.pth", "w") as archive:
            for name, content in (members | {program: bytes(bad)}).items():
                archive.writestr(name, content)
        with suppress(FormatError):  # or it still reads: another name is a name
            load_pth(tmp_path / "bad.pth")
