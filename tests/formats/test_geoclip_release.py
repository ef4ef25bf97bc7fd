"""GeoCLIP's weights in both layouts."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vgeo.errors import FormatError, InputError, MissingModelError
from vgeo.formats import geoclip_release
from vgeo.formats.geoclip_release import read_geoclip_release


@pytest.fixture(scope="module")
def package() -> Path:
    spec = find_spec("geoclip")
    if spec is None or spec.origin is None:
        pytest.skip("the package geoclip is not installed")
    return Path(spec.origin).parent


def test_the_package_is_read_without_being_imported(package: Path) -> None:
    code = (
        "import sys; from vgeo.formats.geoclip_release import read_geoclip_release as r; x = r(); "
        "assert len(x.tensors) == 32 and x.gallery.name == 'coordinates_100K.csv'; "
        "assert not {'geoclip', 'pandas', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_both_layouts_hold_the_same(package: Path, tmp_path: Path) -> None:
    shutil.copytree(package / "model" / "weights", tmp_path / "copied" / "weights")
    shutil.copytree(package / "model" / "gps_gallery", tmp_path / "copied" / "gps_gallery")
    copied = read_geoclip_release(tmp_path / "copied")
    release = tmp_path / "release"
    release.mkdir()
    tensors = {
        name if name == "logit_scale" else ("location_encoder." if "LocEnc" in name else "image_encoder.mlp.") + name: t
        for name, t in copied.tensors.items()
    }
    save_file(tensors, release / "model.safetensors")
    config = {"model_type": "geoclip-geolocation", "format_version": 1, "sigma": [1, 16, 256], "gallery_file": "g.csv"}
    (release / "config.json").write_text(json.dumps(config))
    (release / "g.csv").write_text("LAT,LON\n1,2\n")
    released = read_geoclip_release(release)
    assert released.gallery == release / "g.csv"
    assert copied.gallery == tmp_path / "copied" / "gps_gallery" / "coordinates_100K.csv"
    assert released.tensors.keys() == copied.tensors.keys()
    assert all(torch.equal(released.tensors[name], copied.tensors[name]) for name in copied.tensors)

    (release / "config.json").write_text(json.dumps(config | {"gallery_file": "../../g.csv"}))
    assert read_geoclip_release(release).gallery is None  # nothing outside the folder
    (release / "config.json").write_text(json.dumps(config | {"sigma": [1, 8, 256]}))
    with pytest.raises(FormatError, match="sigma"):
        read_geoclip_release(release)
    (release / "config.json").write_text(json.dumps(config))
    save_file({"logit_scale": torch.zeros(1)}, release / "model.safetensors")
    with pytest.raises(FormatError, match="31 tensors are missing"):
        read_geoclip_release(release)


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no GeoCLIP weights"):
        read_geoclip_release(tmp_path)
    monkeypatch.setattr(geoclip_release.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingModelError, match=r"pip install geoclip"):
        read_geoclip_release()
