"""A run: the loop's epochs measured, logged and kept.

The best model is the one of the lowest median error of the held-out frames, in the phase that was trained last; where
nothing is held out, it is the last one.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from vgeo.errors import SettingError
from vgeo.methods.settings import differences
from vgeo.training.evaluate import Validation
from vgeo.training.folder import RunFolder
from vgeo.training.loop import EpochResult, Loop, Position
from vgeo.training.state import State, copy_weights, read_state, restore_optimizer, snapshot

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]
SaveModel = Callable[[Path, Weights, dict[str, Any]], None]  # folder, weights, what is known of them

_WRITE_EVERY_S = 10.0  # epochs that follow each other faster are written together: a kill loses at most so much


@dataclass(frozen=True, slots=True)
class Best:
    """The best model so far."""

    phase: int
    epoch: int
    validation: dict[str, Any] | None  # None: not measured, merely the last


@dataclass(slots=True)
class Run:
    """One training run in its folder."""

    loop: Loop
    folder: RunFolder
    save: SaveModel
    validate: Callable[[], Validation] | None  # None: nothing is held out
    settings: dict[str, Any]  # what must be the same when the run is resumed
    eval_every: int | None = None  # epochs; None: about twenty times a phase
    best: Best | None = None
    epochs_done: int = 0  # over all phases
    _best_weights: Weights | None = None  # not yet on disk
    _state: State | None = None  # not yet on disk
    _written_at: float = field(default_factory=time.monotonic)
    _began: float = field(default_factory=time.monotonic)

    def resume(self) -> State:
        """Take up the saved run. Raises SettingError that names what is set otherwise now."""
        state = read_state(self.folder.state)
        if found := differences(state.facts["settings"], self.settings):
            raise SettingError(f"{self.folder.path}: cannot be resumed, it was trained with {'; '.join(found)}")
        facts = state.facts
        self.loop.method.load_state_dict(state.model)
        self.loop.position = Position(**facts["position"])
        self.epochs_done = facts["epochs_done"]
        self.best = Best(**facts["best"]) if facts["best"] else None
        self.folder.cut_metrics(self.epochs_done)
        for line in self.folder.read_metrics():
            self.loop.curve.add(line["loss"])
        return state

    def train(self, state: State | None = None) -> None:
        """Train to the end, keeping every finished epoch: at once, or when interrupted or failing."""
        steps = self.loop.total_steps()
        self.loop.progress.start("training", steps, "steps")
        self._began = time.monotonic()
        restore = None if state is None else lambda optimizer: restore_optimizer(optimizer, state)
        try:
            for result in self.loop.run(restore):
                self._finish(result, steps)
        except BaseException as error:
            self._write()
            if isinstance(error, KeyboardInterrupt) and self.epochs_done:
                log.info("%s keeps %d epochs; --resume goes on from there", self.folder.path, self.epochs_done)
            raise
        self._write()

    def _finish(self, result: EpochResult, steps: int) -> None:
        """Measure, log and keep a finished epoch."""
        every = self.eval_every or max(1, self.loop.epochs() // 20)
        due = result.last_of_phase or result.epoch % every == 0
        validation = asdict(self.validate()) if due and self.validate else None
        position = self.loop.position
        improved = self._improves(position.phase, validation)
        if improved:
            self.best = Best(position.phase, result.epoch, validation)
            self._best_weights = copy_weights(self.loop.method)
        self.epochs_done += 1
        self.folder.append_metrics(_metrics(result, validation))
        assert self.loop.optimizer is not None
        self._state = snapshot(self.loop.method, self.loop.optimizer, self._facts())
        if due:
            log.info(self._line(result, validation, improved, steps))
        if result.last_of_phase or time.monotonic() - self._written_at > _WRITE_EVERY_S:
            self._write()

    def _improves(self, phase: int, validation: dict[str, Any] | None) -> bool:
        if self.best is None or self.best.phase != phase or self.best.validation is None:
            return True
        return validation is not None and validation["median_error_km"] < self.best.validation["median_error_km"]

    def _facts(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "position": asdict(self.loop.position),
            "epochs_done": self.epochs_done,
            "best": asdict(self.best) if self.best else None,
        }

    def _write(self) -> None:
        """Put on disk what is not there yet, the state last."""
        phases = self.loop.method.phases
        if self._best_weights is not None and self.best is not None:
            about = {"phase": phases[self.best.phase], "epoch": self.best.epoch, "validation": self.best.validation}
            self.save(self.folder.path, self._best_weights, about)
            self._best_weights = None
        if self._state is not None:
            at = self._state.facts["position"]
            self.save(self.folder.last, self._state.model, {"phase": phases[at["phase"]], "epoch": at["epoch"]})
            self.folder.write_state(self._state)
            self._state = None
        self._written_at = time.monotonic()

    def _line(self, result: EpochResult, validation: dict[str, Any] | None, improved: bool, steps: int) -> str:
        """One line for people: epoch, loss, error, rate, time left."""
        parts = [f"{result.phase} {result.epoch}/{self.loop.epochs()}", f"loss {result.losses['total']:.4g}"]
        if validation:
            best = " (best)" if improved else ""
            within = ", ".join(f"{share:.0%} {radius} km" for radius, share in validation["within"].items())
            parts.append(f"median error {format_km(validation['median_error_km'])}{best}, within {within}")
        left = self.loop.total_steps()
        elapsed = time.monotonic() - self._began
        parts.append(f"rate {result.learning_rate:.2g}")
        if left:
            parts.append(f"{format_seconds(elapsed / max(1, steps - left) * left)} left")
        return "  ".join(parts)


def format_km(km: float) -> str:
    """A distance for people: metres below one kilometre."""
    return f"{1000 * km:.3g} m" if km < 1 else f"{km:.3g} km"


def format_seconds(seconds: float) -> str:
    """A duration for people: 42 s, 3 min 05 s, 2 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _metrics(result: EpochResult, validation: dict[str, Any] | None) -> dict[str, Any]:
    line: dict[str, Any] = {
        "phase": result.phase,
        "epoch": result.epoch,
        "step": result.step,
        "loss": result.losses["total"],
        "losses": {n: v if math.isfinite(v) else None for n, v in result.losses.items() if n != "total"},
        "learning_rate": result.learning_rate,
        "seconds": round(result.seconds, 3),
    }
    return line | ({"validation": validation} if validation else {})
