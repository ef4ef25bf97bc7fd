"""Fixtures that every test may use."""

import logging
import signal
from pathlib import Path

import pytest

# A shell that runs the tests in the background has them ignore SIGINT, and every program that they start inherits it:
# with a handler here, those start with the default again, and can be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of real files and golden values beside the checkout; tests that read it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("no folder 'shared' beside the checkout: real files and golden values are not here")
    return SHARED


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests out of the user's own cache, and off the network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def library_logging() -> None:
    """Let the package log as a library does: a test before may have run the command line, which takes its records."""
    logger = logging.getLogger("vgeo")
    logger.handlers[:] = []
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
