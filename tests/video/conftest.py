"""A set of small videos whose frames carry their number, made once a session."""

from collections.abc import Callable
from pathlib import Path

import av
import pytest
from barcodes import CODECS, MAKERS


@pytest.fixture(scope="session")
def barcode_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a function: name in MAKERS -> the video, made when first asked for."""
    folder = tmp_path_factory.mktemp("barcodes")

    def get(name: str) -> Path:
        codec = CODECS.get(name, "libx264")
        if codec not in av.codecs_available:
            pytest.skip(f"this build of PyAV has no encoder {codec}")
        path = folder / name
        if not path.exists():
            MAKERS[name](path)
        return path

    return get
