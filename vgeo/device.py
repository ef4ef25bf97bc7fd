"""Device, precision and seed: chosen once, said once."""

import logging
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from vgeo.errors import SettingError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Compute:
    """Where tensors live and in which type matrix products run."""

    device: "torch.device"
    dtype: "torch.dtype"  # of matrix products under autocast; weights stay float32

    @property
    def mixed(self) -> bool:
        """True when autocast is to be entered."""
        import torch

        return self.dtype != torch.float32

    def autocast(self) -> "torch.autocast":
        """A context in which matrix products run in `dtype`; does nothing for float32."""
        import torch

        return torch.autocast(self.device.type, dtype=self.dtype if self.mixed else torch.bfloat16, enabled=self.mixed)


def choose(device: str = "auto", precision: str = "auto") -> Compute:
    """Return the compute choice for `device` (auto, cpu, cuda, cuda:1, mps) and `precision` (auto, fp32, bf16).

    `auto` precision is bf16 where the hardware multiplies it fast, else fp32. fp16 is not offered: CPUs have no
    fast kernel for it and training would need loss scaling.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise SettingError(f"--device {device}: not a device name; use auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ("cpu", "cuda", "mps") or (chosen.type == "mps" and not torch.backends.mps.is_available()):
        raise SettingError(f"--device {device}: no such device here; use auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and (not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count()):
        raise SettingError(f"--device {device}: {torch.cuda.device_count()} CUDA devices here; use --device cpu")
    if precision not in ("auto", "fp32", "bf16"):
        raise SettingError(f"--precision {precision}: not one of auto, fp32, bf16")
    fast_bf16 = torch.cuda.is_bf16_supported() if chosen.type == "cuda" else cpu_has_fast_bf16()
    use_bf16 = precision == "bf16" or (precision == "auto" and fast_bf16)
    return Compute(chosen, torch.bfloat16 if use_bf16 else torch.float32)


def announce(compute: Compute) -> None:
    """Say device and precision once on stderr."""
    import torch

    name = torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else "CPU"
    log.info("device %s (%s), %s", compute.device, name, "bf16" if compute.mixed else "fp32")


def cpu_has_fast_bf16() -> bool:
    """AMX or AVX512-BF16: without either, bf16 on a CPU is emulated and slower than fp32."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[Piece], object], pieces: Sequence[Piece]) -> None:
    """Work on pieces in as many threads as there are cores; for numpy, which lets go of the interpreter's lock."""
    if len(pieces) < 2 or cores() == 1:
        for piece in pieces:
            work(piece)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(cores(), len(pieces))) as pool:
        for _ in pool.map(work, pieces):
            pass


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, and ask torch for deterministic kernels where it has them."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It would also fill whatever is allocated, 400 times in a training step, against reading what was never written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property
