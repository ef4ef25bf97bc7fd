"""The one loop for all methods: phases, epochs, steps. Everything random is a function of (seed, phase, epoch).

A step of the loop makes no round trip to the host (GeoCLIP's queue, where it is set, makes two): an epoch's plan is
sent to the device at once, losses are summed there and read back twice a second for the screen.
Matrix products run in bf16 under autocast where that is fast (no loss scaling: bf16 has float32's range); in fp32 they
are fp32 (PyTorch's default keeps TF32 off), and the weights and Adam's moments always are.

Shapes: B clips, T frames.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vgeo.device import Compute
from vgeo.errors import SettingError, first_line
from vgeo.layers.ranks import rank, world_size
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import Clips, Method, Recipe
from vgeo.training.curve import Curve
from vgeo.training.distributed import sum_gradients
from vgeo.training.meter import Meter
from vgeo.training.optim import adam, learning_rate, set_rate
from vgeo.training.sampling import Plan, Store, one_ahead, own_part, stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run is driven. What the method learns by is in its own settings."""

    epochs: int | None = None  # of each phase; None: the method's
    batch_size: int | None = None  # clips (or single frames) a step; None: the method's
    accumulate: int = 1  # pieces a step's batch is cut into, to need less memory
    seed: int = 0
    phase: str | None = None  # the only one to train; None: all, in order
    compile: bool = False  # the loss, by torch.compile

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
    waited_s: float  # of these, for pictures to be decoded
    last_of_phase: bool


@dataclass(slots=True)
class Loop:
    """Trains a method. `run` yields after every epoch, when weights and optimiser may be saved or measured."""

    method: Method
    store: Store
    options: Options
    compute: Compute
    progress: Progress = SILENT
    position: Position = field(default_factory=Position)
    optimizer: torch.optim.Adam | None = None
    curve: Curve = field(default_factory=Curve)
    _requires_grad: dict[str, bool] = field(default_factory=dict)
    _loss: Callable[..., dict[str, Tensor]] | None = None  # the method's, compiled

    def numbers(self) -> list[int]:
        """Which of the method's phases are trained."""
        return [n for n, phase in enumerate(self.method.phases) if self.options.phase in (None, phase)]

    def epochs(self) -> int:
        """Epochs of the phase that is being trained."""
        return self.options.recipe(self.method, self.method.phases[self.position.phase]).epochs

    def total_steps(self) -> int:
        """Optimiser steps that are still to do, over all phases."""
        left = 0
        for number in self.numbers():
            recipe = self.options.recipe(self.method, self.method.phases[number])
            if number >= self.position.phase:
                done = self.position.epoch if number == self.position.phase else 0
                left += self.store.steps(recipe) * max(0, recipe.epochs - done)
        return left

    def run(self, restore: Callable[[torch.optim.Adam], None] | None = None) -> Iterator[EpochResult]:
        """Train from `position` on. restore: puts a saved optimiser state into the fresh optimiser of that phase.

        Raises SettingError when the loss stops being finite; what was saved before stays.
        """
        self._requires_grad = {name: p.requires_grad for name, p in self.method.named_parameters()}
        self._loss = torch.compile(self.method.loss) if self.options.compile else None
        for number in self.numbers():
            if number < self.position.phase:
                continue
            phase = self.method.phases[number]
            recipe = self.options.recipe(self.method, phase)
            if number != self.position.phase:
                self.position, restore = Position(phase=number), None
            if self.position.epoch >= recipe.epochs:
                continue
            if self.position.epoch == 0:
                self.method.begin(phase)
            self.optimizer = self._adam(phase, recipe)
            if restore is not None:
                restore(self.optimizer)
                restore = None
            planned = partial(self._plan, recipe, number)
            for plan in one_ahead(planned, range(self.position.epoch, recipe.epochs)):
                yield self._epoch(phase, recipe, plan)

    def _adam(self, phase: str, recipe: Recipe) -> torch.optim.Adam:
        parameters = self._parameters(phase)
        name_of = {id(parameter): name for name, parameter in self.method.named_parameters()}
        return adam(parameters, recipe, [self.method.rate_factor(name_of[id(p)]) for p in parameters])

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
        return self.store.draw(recipe, stream(self.options.seed, phase, epoch))

    def _epoch(self, phase: str, recipe: Recipe, plan: Plan) -> EpochResult:
        began, waited = time.monotonic(), self.store.wait_s
        at = self.position
        items = self.store.plan(plan, self._own_pieces(plan))
        epoch = _Epoch(phase, plan, *items, recipe.windows is not None, self._seed(at), Meter(self.compute.device))
        self.method.train()
        rate = 0.0
        for step in range(plan.steps):
            rate = learning_rate(recipe, at.epoch, at.step + step)
            try:
                self._step(epoch, step, rate)
            except RuntimeError as error:
                if said := self._said(error, phase, recipe):
                    raise SettingError(said) from error
                raise
            last = step == plan.steps - 1
            loss = epoch.meter.read(force=last)
            if loss is not None:
                if not np.isfinite(loss) and (last or world_size() == 1):  # several processes stop at the same step
                    raise self._diverged(phase, at.epoch + 1, epoch.meter.first_bad())
                self.curve.add(loss)
            self.progress.advance(1, self.curve.note())
        if not self._finite():
            raise self._diverged(phase, at.epoch + 1, plan.steps)
        self.position = Position(at.phase, at.epoch + 1, at.step + plan.steps)
        return EpochResult(
            phase=phase,
            epoch=at.epoch + 1,
            step=self.position.step,
            losses=epoch.meter.means(),
            learning_rate=rate,
            seconds=time.monotonic() - began,
            waited_s=self.store.wait_s - waited,
            last_of_phase=at.epoch + 1 >= recipe.epochs,
        )

    def _own_pieces(self, plan: Plan) -> list[slice]:
        """This process's parts of an epoch's pieces, as `_clips` will ask for them."""
        steps = (plan.pieces(step, self.options.accumulate) for step in range(plan.steps))
        return [own_part(piece, rank(), world_size())[0] for pieces in steps for piece in pieces]

    def _seed(self, at: Position) -> torch.Generator:
        """Seed PyTorch's own generators (dropout draws from them) and return the loss's, for one epoch.

        Of several processes each drops out on its own; the loss's numbers are those of the joined batch in all.
        """
        key = [self.options.seed, at.phase, at.epoch, 1]
        own, joint = ([*key, rank()] if rank() else key), key
        torch.manual_seed(_number(own, 0))
        return torch.Generator(self.compute.device).manual_seed(_number(joint, 1))

    def _step(self, epoch: "_Epoch", step: int, rate: float) -> None:
        """One optimiser step. Pieces weigh by their frames, so a mean over frames comes out as of the whole batch.

        Windows weigh alike. A contrastive loss sees only its piece's candidates: there, more pieces mean fewer
        negatives.
        """
        assert self.optimizer is not None
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        pieces = list(epoch.plan.pieces(step, self.options.accumulate))
        weights_IT = epoch.plan.mask_IT[:, :1] if epoch.in_windows else epoch.plan.mask_IT
        frames = [int(weights_IT[piece].sum()) for piece in pieces]  # of all processes
        sums: dict[str, Tensor] = {}
        for piece, count in zip(pieces, frames, strict=True):
            share = count / sum(frames)
            with self.compute.autocast():
                losses = (self._loss or self.method.loss)(
                    self._clips(epoch, piece, share), epoch.phase, epoch.generator
                )
            (losses["total"] * share).backward()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach().double() * share
        epoch.meter.step(sum_gradients(_parameters_of(self.optimizer), sums))
        self.optimizer.step()

    def _clips(self, epoch: "_Epoch", piece: slice, share: float) -> Clips:
        """This process's part of a piece; a short part is filled up, so that tensors have one shape in all."""
        own, missing = own_part(piece, rank(), world_size())
        frame_BT, mask_BT = epoch.frame_IT[own], epoch.mask_IT[own]
        if missing:
            frame_BT, mask_BT = (F.pad(values_BT, (0, 0, 0, missing)) for values_BT in (frame_BT, mask_BT))
        clips = self.store.batch(frame_BT, mask_BT)
        return clips if share == 1 else replace(clips, share=share)

    def _finite(self) -> bool:
        """Whether all weights are: a last step can spoil them after a loss that was fine."""
        with torch.no_grad():
            return bool(torch.stack([p.isfinite().all() for p in self.method.parameters()]).all())

    def _said(self, error: RuntimeError, phase: str, recipe: Recipe) -> str | None:
        """What a step's failure is to the user; None when it is not theirs."""
        if isinstance(error, torch.OutOfMemoryError):
            return (
                f"{self.compute.device} has too little memory for a batch of {recipe.batch_clips} in {phase}; "
                f"cut it with --accumulate {2 * self.options.accumulate}, or make it smaller with --batch-size"
            )
        if self.options.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            return f"the loss of {phase} cannot be compiled ({first_line(error)}); leave out --compile"
        return None

    def _diverged(self, phase: str, epoch: int, step: int) -> SettingError:
        precision = " or --precision fp32" if self.compute.mixed else ""
        first = epoch == 1 and self.position.phase == self.numbers()[0]
        kept = "no epoch was finished" if first else "the last finished epoch is kept"
        return SettingError(
            f"the loss of {phase} is not finite at epoch {epoch}, step {step}; {kept}. "
            f"Train anew with a lower learning rate (--set learning_rate=...), a longer warm-up{precision}"
        )


@dataclass(frozen=True, slots=True)
class _Epoch:
    """What the steps of an epoch share."""

    phase: str
    plan: Plan
    frame_IT: Tensor  # the plan's, where the store takes them
    mask_IT: Tensor
    in_windows: bool  # an item is a window, however many of its frames are repeated
    generator: torch.Generator
    meter: Meter


def _parameters_of(optimizer: torch.optim.Adam) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _number(key: list[int], which: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(2, np.uint32)[which])
