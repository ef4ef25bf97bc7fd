"""A run: the loop's epochs measured, logged and kept.

The best model is the one that ranks first by what was held out (see measures.py), in the phase that was trained last;
where nothing is held out, it is the last one.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from vgeo.errors import SettingError
from vgeo.formats.checkpoints import WEIGHTS, load_safetensors
from vgeo.layers.ranks import rank
from vgeo.methods.settings import differences
from vgeo.training.distributed import undisturbed
from vgeo.training.evaluate import Validation
from vgeo.training.evaluate_classes import ClassValidation
from vgeo.training.evaluate_pairs import TileValidation
from vgeo.training.folder import RunFolder
from vgeo.training.loop import EpochResult, Loop, Position
from vgeo.training.measures import rank as rank_of
from vgeo.training.measures import words
from vgeo.training.state import State, Weights, copy_weights, restore_optimizer, snapshot

log = logging.getLogger(__name__)

Validate = Callable[[str], Validation | ClassValidation | TileValidation]  # by the phase that is being trained

_WRITE_EVERY_S = 10.0  # epochs that follow each other faster are written together: a kill loses at most so much
_MUCH = 0.2  # of an epoch, waiting for pictures
_REST = 10  # and times as long as writing takes passes without


@dataclass(frozen=True, slots=True)
class Best:
    """The best model so far."""

    phase: int
    epoch: int
    validation: dict[str, Any] | None  # None: not measured, merely the last


@dataclass(frozen=True, slots=True)
class Kept:
    """The last finished epoch: made whole before it replaces the one before, so an interrupt falls on either side."""

    best: Best
    best_weights: Weights
    state: State
    metrics: tuple[dict[str, Any], ...]  # one line an epoch, over all phases


@dataclass(slots=True)
class Run:
    """One training run in its folder."""

    loop: Loop
    folder: RunFolder
    validate: Validate | None  # None: nothing is held out
    settings: dict[str, Any]  # what must be the same when the run is resumed
    eval_every: int | None = None  # epochs; None: about twenty times a phase
    kept: Kept | None = None
    _written: Kept | None = None
    _write_at: float = 0.0
    _began: float = 0.0
    _said_waiting: bool = False

    def resume(self) -> None:
        """Take up the saved run. Raises SettingError that names what is set otherwise now."""
        state, metrics = self.folder.resume()
        if found := differences(state.facts["settings"], self.settings):
            raise SettingError(
                f"{self.folder.path}: cannot be resumed, it was trained with {'; '.join(found)}. "
                "Give the same settings, or train anew with --overwrite"
            )
        self.loop.method.load_state_dict(state.model)
        self.loop.position = Position(**state.facts["position"])
        for line in metrics:
            self.loop.curve.add(line["loss"])
        weights = load_safetensors(self.folder.path / WEIGHTS)
        self.kept = self._written = Kept(Best(**state.facts["best"]), weights, state, tuple(metrics))

    def train(self) -> None:
        """Train to the end, keeping every finished epoch: now and then, and when interrupted or failing."""
        state = self.kept.state if self.kept else None
        restore = None if state is None else lambda optimizer: restore_optimizer(optimizer, state)
        if rank():  # the first process measures, keeps and tells
            for _ in self.loop.run(restore):
                pass
            return
        steps = self.loop.total_steps()
        if self.kept and not steps:
            log.info("all %d epochs were trained already; more with --epochs", len(self.kept.metrics))
        self.loop.progress.start("training", steps, "steps")
        self._began = time.monotonic()
        self._write_at = self._began + _WRITE_EVERY_S
        try:
            for result in self.loop.run(restore):
                self._finish(result, steps)
        except BaseException as error:
            self._write()
            if isinstance(error, KeyboardInterrupt) and self.kept:
                log.info("%s keeps %d epochs; --resume goes on from there", self.folder.path, len(self.kept.metrics))
            raise
        self._write()

    def _finish(self, result: EpochResult, steps: int) -> None:
        """Measure, log and keep a finished epoch."""
        every = self.eval_every or max(1, self.loop.epochs() // 20)
        due = result.last_of_phase or result.epoch % every == 0
        validation = asdict(self.validate(result.phase)) if due and self.validate else None
        position, before = self.loop.position, self.kept
        improved = before is None or _improves(before.best, position.phase, validation)
        if before is None or improved:
            best, weights = Best(position.phase, result.epoch, validation), copy_weights(self.loop.method)
        else:
            best, weights = before.best, before.best_weights
        metrics = (*(before.metrics if before else ()), _metrics(result, validation))
        facts = {"settings": self.settings, "position": asdict(position), "best": asdict(best)}
        assert self.loop.optimizer is not None
        self.kept = Kept(best, weights, snapshot(self.loop.method, self.loop.optimizer, facts), metrics)
        # In the first epoch pictures may be decoded that then stay in memory.
        if result.epoch > 1 and result.waited_s > _MUCH * result.seconds and not self._said_waiting:
            self._said_waiting = True
            log.warning(
                "%.0f%% of the epoch passed waiting for pictures; smaller ones are faster: "
                "'vgeo extract-frames --size 224 --square'", 100 * result.waited_s / result.seconds,
            )  # fmt: skip
        if due:
            log.info(self._line(result, validation, improved, steps))
        if result.last_of_phase or time.monotonic() > self._write_at:
            self._write()

    def _write(self) -> None:
        """Put on disk what is not there yet."""
        kept = self.kept
        if kept is None or kept is self._written:
            return
        began = time.monotonic()
        phases, at = self.loop.method.phases, kept.state.facts["position"]
        best = {"phase": phases[kept.best.phase], "epoch": kept.best.epoch, "validation": kept.best.validation}
        last = {"phase": phases[at["phase"]], "epoch": at["epoch"]}
        with undisturbed():
            self.folder.write(kept.best_weights, best, kept.state, last, kept.metrics)
        self._written = kept
        now = time.monotonic()
        self._write_at = now + max(_WRITE_EVERY_S, _REST * (now - began))

    def _line(self, result: EpochResult, validation: dict[str, Any] | None, improved: bool, steps: int) -> str:
        """One line for people: epoch, loss, error, rate, time left."""
        parts = [f"{result.phase} {result.epoch}/{self.loop.epochs()}", f"loss {result.losses['total']:.4g}"]
        if validation:
            parts += words(validation, " (best)" if improved else "")
        left = self.loop.total_steps()
        elapsed = time.monotonic() - self._began
        parts.append(f"rate {result.learning_rate:.2g}")
        if left:
            parts.append(f"{format_seconds(elapsed / max(1, steps - left) * left)} left")
        return "  ".join(parts)


def format_seconds(seconds: float) -> str:
    """A duration for people: 42 s, 3 min 05 s, 2 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _improves(best: Best, phase: int, validation: dict[str, Any] | None) -> bool:
    if best.phase != phase or best.validation is None:
        return True
    return validation is not None and rank_of(validation) < rank_of(best.validation)


def _metrics(result: EpochResult, validation: dict[str, Any] | None) -> dict[str, Any]:
    line: dict[str, Any] = {
        "phase": result.phase,
        "epoch": result.epoch,
        "step": result.step,
        "loss": result.losses["total"],
        "losses": {n: v if math.isfinite(v) else None for n, v in result.losses.items() if n != "total"},
        "learning_rate": result.learning_rate,
        "seconds": round(result.seconds, 3),
        "waited_s": round(result.waited_s, 3),
    }
    return line | ({"validation": validation} if validation else {})
