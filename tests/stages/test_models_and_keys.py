"""Models by name and by folder, and the keys of a gallery: made once, kept, never another model's."""

import dataclasses
import errno
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from vgeo.device import Compute
from vgeo.errors import FormatError, InputError, MissingModelError, SettingError
from vgeo.formats.checkpoints import save_model
from vgeo.formats.gallery import Gallery
from vgeo.methods.geoclip import GeoClip, GeoClipConfig
from vgeo.methods.settings import to_dict
from vgeo.methods.vidtag import VidTag
from vgeo.stages import keys, models
from vgeo.stages.keys import cache_folder, embed_gallery, gallery_keys
from vgeo.stages.models import Model, load_model, load_released

COMPUTE = Compute(torch.device("cpu"), torch.bfloat16)


def small_model(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    method = GeoClip(GeoClip.debug_config()).eval()
    return Model(name="geoclip", method=method, encoders={}, hash=f"hash{seed}", folder=None, gallery=None)


def points(count: int) -> Gallery:
    rng = np.random.default_rng(0)
    return Gallery(latlon_deg=np.stack([rng.uniform(-80, 80, count), rng.uniform(-180, 180, count)], 1))


def saved(folder: Path, **changes: object) -> Path:
    config = dataclasses.replace(GeoClip.debug_config(), **changes)
    method = GeoClip(config)
    save_model(folder, method="geoclip", config=to_dict(config), encoders={}, state=method.state_dict())
    return folder


def test_settings_over_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = saved(tmp_path / "m")
    plain, changed = load_model(folder), load_model(folder, settings=["target_radius_km=0.015"])
    assert changed.method.config == dataclasses.replace(plain.method.config, target_radius_km=0.015)
    assert changed.hash != plain.hash
    assert "otherwise than trained: target_radius_km 0, now 0.015" in caplog.text
    assert not plain.method.training
    with pytest.raises(FormatError, match=r"location\.capsules\.0\.frequencies"):
        load_model(folder, settings=["fourier=8"])
    with pytest.raises(SettingError, match="no setting 'furier'"):
        load_model(folder, settings=["furier=8"])


def test_the_encoders_of_a_trained_model_stay(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    with pytest.raises(SettingError, match="trained on features of clip, not of gist; leave out --set encoder"):
        load_model(folder, settings=["encoder=gist"])
    assert load_model(folder, settings=["encoder=clip"]).method.encoders == ("clip",)
    method = VidTag(VidTag.debug_config())
    save_model(tmp_path / "v", method="vidtag", config=to_dict(method.config), encoders={}, state=method.state_dict())
    for wanted in ("dinov2,clip", "dinov2"):
        with pytest.raises(SettingError, match=f"trained on features of clip,dinov2, not of {wanted}; leave out"):
            load_model(tmp_path / "v", settings=[f"encoders={wanted}"])


def test_settings_go_together_with_the_models_not_with_the_defaults(tmp_path: Path) -> None:
    config = dataclasses.replace(VidTag.debug_config(), window=64, window_overlap=16)
    state = VidTag(config).state_dict()
    save_model(tmp_path / "m", method="vidtag", config=to_dict(config), encoders={}, state=state)
    assert load_model(tmp_path / "m", settings=["window=32"]).method.config.window == 32
    with pytest.raises(SettingError, match="window_overlap below window"):
        load_model(tmp_path / "m", settings=["window=16"])


def test_what_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="vgeo train"):
        load_model(tmp_path / "none")
    folder = tmp_path / "m"
    save_model(folder, method="lost", config={}, encoders={}, state={})
    with pytest.raises(FormatError, match="'lost'"):
        load_model(folder)
    save_model(folder, method="geoclip", config={"sigmas": "x"}, encoders={}, state={})
    with pytest.raises(SettingError, match="sigmas"):
        load_model(folder)
    monkeypatch.setattr(models.methods, "names", lambda: ["geoclip", "other"])
    monkeypatch.setattr(models.methods, "get", lambda name: GeoClip)
    with pytest.raises(MissingModelError, match="vgeo train --method other"):
        load_model("other")


def test_a_method_without_weights_needs_none() -> None:
    model = load_model("nearest", settings=["temperature=0.1"])
    assert model.method.scale == pytest.approx(10)
    assert (model.folder, model.gallery, model.encoders) == (None, None, {})


def test_training_from_the_release_or_from_scratch(tmp_path: Path) -> None:
    scratch = GeoClip(GeoClip.debug_config())
    assert load_released(scratch, "geoclip", {"geoclip": str(tmp_path)}) == []  # looks for nothing
    narrow = GeoClip(dataclasses.replace(GeoClip.debug_config(), init="released", sigmas=(1.0,)))
    pytest.importorskip("geopy")  # comes with the package geoclip
    with pytest.raises(SettingError, match="init=scratch"):
        load_released(narrow, "geoclip")
    gist = GeoClip(GeoClipConfig(encoder="gist", feature_dim=8))
    assert load_released(gist, "geoclip") == ["the image MLP over gist"]


def test_released_geoclip() -> None:
    pytest.importorskip("geopy")
    model = load_model()
    assert model.encoders["clip"].dim == 768
    assert model.gallery is not None and model.gallery.name == "coordinates_100K.csv"
    with pytest.raises(SettingError, match="untrained"):
        load_model("geoclip", settings=["sigmas=1,8,256"])


def test_keys_are_cached_under_gallery_and_model(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys, "_WORTH_CACHING", 100)
    caplog.set_level(logging.INFO, "vgeo")
    model, gallery = small_model(), points(500)
    first = gallery_keys(model, gallery, COMPUTE)
    assert "500 places" in caplog.text
    assert first.dtype == torch.float32
    caplog.clear()
    again = gallery_keys(model, gallery, COMPUTE)
    assert not caplog.records
    assert torch.equal(first, again)
    assert not torch.equal(gallery_keys(small_model(1), gallery, COMPUTE), first)
    assert len(gallery_keys(model, points(400), COMPUTE)) == 400
    files = sorted((cache_folder() / "keys").iterdir())
    assert len(files) == 3
    for file in files:  # damage is not believed
        file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(gallery_keys(model, gallery, COMPUTE), first)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("went-off"),)


@pytest.mark.parametrize("what", ["fewer rows", "doubles", "one axis", "a pickle"])
def test_a_cache_that_holds_something_else_is_not_believed(
    what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keys, "_WORTH_CACHING", 100)
    monkeypatch.chdir(tmp_path)
    model, gallery = small_model(), points(200)
    first = gallery_keys(model, gallery, COMPUTE)
    (file,) = (cache_folder() / "keys").iterdir()
    bomb = np.empty((200, 1), object)
    bomb[:] = Bomb()
    stored = {
        "fewer rows": first.numpy()[:150],
        "doubles": first.numpy().astype(np.float64),
        "one axis": first.numpy()[:, 0],
        "a pickle": bomb,
    }
    np.save(file, stored[what], allow_pickle=True)
    assert torch.equal(gallery_keys(model, gallery, COMPUTE), first)
    assert not (tmp_path / "went-off").exists()


def test_half_written_keys_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_WORTH_CACHING", 100)

    def full(file, array, **_) -> None:  # type: ignore[no-untyped-def]
        file.write(array.tobytes()[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert len(gallery_keys(small_model(), points(300), COMPUTE)) == 300
    assert list((cache_folder() / "keys").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(keys, "_WORTH_CACHING", 100)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(gallery_keys(small_model(), points(300), COMPUTE)) == 300


def test_keys_stored_in_the_gallery_come_first_and_are_checked() -> None:
    model, gallery = small_model(), points(50)
    own = embed_gallery(model, gallery, COMPUTE).numpy()
    turned = np.roll(own, 1, axis=0)
    stored = dataclasses.replace(gallery, keys={model.hash: turned, "another": own})
    assert np.array_equal(gallery_keys(model, stored, COMPUTE).numpy(), turned)
    damaged = turned.copy()
    damaged[7, 0] = np.nan
    with pytest.raises(FormatError, match="damaged"):
        gallery_keys(model, dataclasses.replace(gallery, keys={model.hash: damaged}), COMPUTE)


def test_keys_are_float32_even_under_autocast() -> None:
    model, gallery = small_model(), points(64)
    plain = embed_gallery(model, gallery, COMPUTE)
    exact = model.method.location(torch.from_numpy(gallery.latlon_deg)).double()
    exact = exact / exact.norm(dim=1, keepdim=True)
    assert (plain - exact).abs().max() < 1e-6
