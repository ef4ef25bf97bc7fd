"""The one loop for all methods: phases, epochs, steps. Everything random is a function of (seed, phase, epoch).

A step of the loop makes no round trip to the host (GeoCLIP's queue, where it is set, makes one): losses are summed on
the device and read back twice a second for the screen.
Matrix products run in bf16 under autocast where that is fast (no loss scaling: bf16 has float32's range); in fp32 they
are fp32 (PyTorch's default keeps TF32 off), and the weights and Adam's moments always are.

Shapes: B clips, T frames.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from vgeo.device import Compute
from vgeo.errors import SettingError
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import Method, Recipe
from vgeo.training.curve import Curve
from vgeo.training.optim import adam, learning_rate, set_rate
from vgeo.training.sampling import Plan, plan_epoch, steps_per_epoch, stream
from vgeo.training.store import FeatureStore

log = logging.getLogger(__name__)

_READ_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run is driven. What the method learns by is in its own settings."""

    epochs: int | None = None  # of each phase; None: the method's
    batch_size: int | None = None  # clips (or single frames) a step; None: the method's
    accumulate: int = 1  # pieces a step's batch is cut into, to need less memory
    seed: int = 0

    def recipe(self, method: Method, phase: str) -> Recipe:
        """The method's recipe with what the options say otherwise."""
        recipe: Recipe = method.recipe(phase)
        return replace(recipe, epochs=self.epochs or recipe.epochs, batch_clips=self.batch_size or recipe.batch_clips)


@dataclass(slots=True)
class Position:
    """Where a run stands: `epoch` epochs and `step` steps of phase number `phase` are done."""

    phase: int = 0
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What one epoch did."""

    phase: str
    epoch: int  # counts from 1 within the phase
    step: int  # optimiser steps of the phase so far
    losses: dict[str, float]  # mean of each term over the epoch; "total" is what was minimised
    learning_rate: float  # of the last step
    seconds: float
    last_of_phase: bool


@dataclass(slots=True)
class Loop:
    """Trains a method. `run` yields after every epoch, when weights and optimiser may be saved or measured."""

    method: Method
    store: FeatureStore
    options: Options
    compute: Compute
    progress: Progress = SILENT
    position: Position = field(default_factory=Position)
    optimizer: torch.optim.Adam | None = None
    curve: Curve = field(default_factory=Curve)
    _requires_grad: dict[str, bool] = field(default_factory=dict)

    def epochs(self) -> int:
        """Epochs of the phase that is being trained."""
        return self.options.recipe(self.method, self.method.phases[self.position.phase]).epochs

    def total_steps(self) -> int:
        """Optimiser steps that are still to do, over all phases."""
        left = 0
        for number, phase in enumerate(self.method.phases):
            recipe = self.options.recipe(self.method, phase)
            if number >= self.position.phase:
                done = self.position.epoch if number == self.position.phase else 0
                per_epoch = steps_per_epoch(self.store.frames.clip_first, recipe.clip_frames, recipe.batch_clips)
                left += per_epoch * max(0, recipe.epochs - done)
        return left

    def run(self, restore: Callable[[torch.optim.Adam], None] | None = None) -> Iterator[EpochResult]:
        """Train from `position` on. restore: puts a saved optimiser state into the fresh optimiser of that phase.

        Raises SettingError when the loss stops being finite; what was saved before stays.
        """
        self._requires_grad = {name: p.requires_grad for name, p in self.method.named_parameters()}
        for number in range(self.position.phase, len(self.method.phases)):
            phase = self.method.phases[number]
            recipe = self.options.recipe(self.method, phase)
            if number != self.position.phase:
                self.position, restore = Position(phase=number), None
            if self.position.epoch >= recipe.epochs:
                continue
            self.optimizer = adam(self._parameters(phase), recipe)
            if restore is not None:
                restore(self.optimizer)
                restore = None
            while self.position.epoch < recipe.epochs:
                yield self._epoch(phase, recipe)

    def _parameters(self, phase: str) -> list[nn.Parameter]:
        """The phase's parameters; all others need no gradient while it lasts."""
        for name, parameter in self.method.named_parameters():
            parameter.requires_grad_(self._requires_grad[name])
        chosen = self.method.trainable(phase)
        wanted = {id(parameter) for parameter in chosen}
        for parameter in self.method.parameters():
            parameter.requires_grad_(id(parameter) in wanted)
        return chosen

    def _plan(self, recipe: Recipe, phase: int, epoch: int) -> Plan:
        rng = stream(self.options.seed, phase, epoch)
        return plan_epoch(self.store.frames.clip_first, recipe.clip_frames, recipe.batch_clips, rng)

    def _epoch(self, phase: str, recipe: Recipe) -> EpochResult:
        began = time.monotonic()
        at = self.position
        plan = self._plan(recipe, at.phase, at.epoch)
        generator = self._seed(at)
        self.method.train()
        meter = _Meter(self.compute.device)
        rate = 0.0
        for step in range(plan.steps):
            rate = learning_rate(recipe, at.epoch, at.step + step)
            try:
                self._step(plan, step, phase, rate, generator, meter)
            except torch.OutOfMemoryError as error:
                raise SettingError(
                    f"{self.compute.device} has too little memory for a batch of {recipe.batch_clips} in {phase}; "
                    f"cut it with --accumulate {2 * self.options.accumulate}, or make it smaller with --batch-size"
                ) from error
            reading = meter.read(force=step == plan.steps - 1)
            if reading is not None:
                loss = reading["total"]
                if not np.isfinite(loss):
                    raise self._diverged(phase, at.epoch + 1, meter.first_bad())
                self.curve.add(loss)
            self.progress.advance(1, self.curve.note())
        if not self._finite():
            raise self._diverged(phase, at.epoch + 1, plan.steps)
        self.position = Position(at.phase, at.epoch + 1, at.step + plan.steps)
        return EpochResult(
            phase=phase,
            epoch=at.epoch + 1,
            step=self.position.step,
            losses=meter.means(),
            learning_rate=rate,
            seconds=time.monotonic() - began,
            last_of_phase=at.epoch + 1 >= recipe.epochs,
        )

    def _seed(self, at: Position) -> torch.Generator:
        """Seed PyTorch's own generators (dropout draws from them) and return the loss's, for one epoch."""
        key = np.random.SeedSequence([self.options.seed, at.phase, at.epoch, 1]).generate_state(2, np.uint32)
        torch.manual_seed(int(key[0]))
        return torch.Generator(self.compute.device).manual_seed(int(key[1]))

    def _step(
        self, plan: Plan, step: int, phase: str, rate: float, generator: torch.Generator, meter: "_Meter"
    ) -> None:
        """One optimiser step. Pieces weigh by their frames, so a mean over frames comes out as of the whole batch.

        A contrastive loss sees only its piece's candidates: there, more pieces mean fewer negatives.
        """
        assert self.optimizer is not None
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        pieces = list(plan.pieces(step, self.options.accumulate))
        frames = sum(int(plan.mask_IT[piece].sum()) for piece in pieces)
        for piece in pieces:
            mask_BT = plan.mask_IT[piece]
            clips = self.store.batch(torch.from_numpy(plan.frame_IT[piece]), torch.from_numpy(mask_BT))
            with self.compute.autocast():
                losses = self.method.loss(clips, phase, generator)
            share = float(mask_BT.sum()) / frames
            (losses["total"] * share).backward()
            meter.add(losses, share)
        meter.step()
        self.optimizer.step()

    def _finite(self) -> bool:
        """Whether all weights are: a last step can spoil them after a loss that was fine."""
        with torch.no_grad():
            return bool(torch.stack([p.isfinite().all() for p in self.method.parameters()]).all())

    def _diverged(self, phase: str, epoch: int, step: int) -> SettingError:
        precision = " or --precision fp32" if self.compute.mixed else ""
        return SettingError(
            f"the loss of {phase} is not finite at epoch {epoch}, step {step}; the last finished epoch is kept. "
            f"Train anew with a lower learning rate (--set learning_rate=...), a longer warm-up{precision}"
        )


class _Meter:
    """Sums losses on the device, and reads them back only now and then."""

    def __init__(self, device: torch.device) -> None:
        self._sums: dict[str, Tensor] = {}
        self._bad = torch.full((), torch.iinfo(torch.int64).max, device=device)  # first step whose loss is not finite
        self._steps = 0
        self._read_at = time.monotonic()
        self._read_sum, self._read_steps = 0.0, 0

    def add(self, losses: dict[str, Tensor], share: float) -> None:
        """Add a piece's losses."""
        for name, loss in losses.items():
            weighted = loss.detach().double() * share
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted

    def step(self) -> None:
        """Close a step."""
        self._steps += 1
        fine = torch.isfinite(self._sums["total"])
        self._bad = torch.where(fine, self._bad, self._bad.clamp(max=self._steps))

    def read(self, force: bool = False) -> dict[str, float] | None:
        """Mean total loss since the last reading; None when it is too early to wait for the device again."""
        if not force and time.monotonic() - self._read_at < _READ_EVERY_S:
            return None
        total = float(self._sums["total"])
        mean = (total - self._read_sum) / (self._steps - self._read_steps)
        self._read_sum, self._read_steps, self._read_at = total, self._steps, time.monotonic()
        return {"total": mean}

    def first_bad(self) -> int:
        """Number of the first step, from 1, whose loss was not finite."""
        return int(self._bad)

    def means(self) -> dict[str, float]:
        """Mean of each term over the steps."""
        return {name: float(value) / self._steps + 0.0 for name, value in self._sums.items()}  # 0.0: never "-0"
