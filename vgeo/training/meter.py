"""The losses of an epoch, summed where they are made and read back only now and then."""

import time

import torch
from torch import Tensor

_READ_EVERY_S = 0.5


class Meter:
    """Sums losses on the device. Nothing but reading waits for it."""

    def __init__(self, device: torch.device) -> None:
        self._sums: dict[str, Tensor] = {}
        self._bad = torch.full((), torch.iinfo(torch.int64).max, device=device)  # first step whose loss is not finite
        self._steps = 0
        self._read_at = time.monotonic()
        self._read_sum, self._read_steps = 0.0, 0

    def step(self, losses: dict[str, Tensor]) -> None:
        """Add a step's losses, scalars without a gradient."""
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss.double()
        self._steps += 1
        fine = torch.isfinite(self._sums["total"])
        self._bad = torch.where(fine, self._bad, self._bad.clamp(max=self._steps))

    def read(self, force: bool = False) -> float | None:
        """Mean total loss since the last reading; None when it is too early to wait for the device again."""
        if not force and time.monotonic() - self._read_at < _READ_EVERY_S:
            return None
        total = float(self._sums["total"])
        mean = (total - self._read_sum) / (self._steps - self._read_steps)
        self._read_sum, self._read_steps, self._read_at = total, self._steps, time.monotonic()
        return mean

    def first_bad(self) -> int:
        """Number of the first step, from 1, whose loss was not finite."""
        return int(self._bad)

    def means(self) -> dict[str, float]:
        """Mean of each term over the steps."""
        return {name: float(value) / self._steps + 0.0 for name, value in self._sums.items()}  # 0.0: never "-0"
