"""What there is to keep things in."""

from pathlib import Path

import pytest
import torch

from vgeo.training import memory

CPU = torch.device("cpu")


def test_free_memory_is_what_the_host_says_and_shared_among_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    alone = memory.free_bytes(CPU)
    assert 0 < alone <= total
    monkeypatch.setattr(memory, "world_size", lambda: 4)
    assert memory.free_bytes(CPU) == pytest.approx(alone / 4, rel=0.2)


@pytest.mark.parametrize(
    ("limit", "expected"), [("3000000\n", 3_000_000), ("max\n", 8_000 * 1024), (None, 8_000 * 1024)]
)
def test_a_container_may_use_no_more_than_its_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    texts = {"/proc/meminfo": "MemFree: 10 kB\nMemAvailable: 8000 kB\n", "/sys/fs/cgroup/memory.max": limit}

    def read(path: Path) -> str:
        text = texts[str(path)]
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read)
    assert memory.free_bytes(CPU) == expected


def test_what_lies_on_the_device_is_not_copied() -> None:
    tensor = torch.ones(3)
    assert memory.send(tensor, CPU) is tensor
