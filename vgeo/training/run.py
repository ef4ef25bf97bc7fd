"""A run: the loop's epochs measured, logged and kept.

The best model is the one of the lowest median error of the held-out frames, in the phase that was trained last; where
nothing is held out, it is the last one.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from vgeo.errors import SettingError
from vgeo.formats.checkpoints import WEIGHTS, load_safetensors
from vgeo.methods.settings import differences
from vgeo.training.evaluate import Validation
from vgeo.training.folder import RunFolder
from vgeo.training.loop import EpochResult, Loop, Position
from vgeo.training.state import State, Weights, copy_weights, restore_optimizer, snapshot

log = logging.getLogger(__name__)

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
    validate: Callable[[], Validation] | None  # None: nothing is held out
    settings: dict[str, Any]  # what must be the same when the run is resumed
    eval_every: int | None = None  # epochs; None: about twenty times a phase
    best: Best | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)  # one line an epoch
    _best_weights: Weights = field(default_factory=dict)
    _state: State | None = None  # not yet on disk
    _write_at: float = 0.0
    _began: float = 0.0

    def resume(self) -> State:
        """Take up the saved run. Raises SettingError that names what is set otherwise now."""
        state, self.metrics = self.folder.resume()
        if found := differences(state.facts["settings"], self.settings):
            raise SettingError(
                f"{self.folder.path}: cannot be resumed, it was trained with {'; '.join(found)}. "
                "Give the same settings, or train anew with --overwrite"
            )
        self.loop.method.load_state_dict(state.model)
        self.loop.position = Position(**state.facts["position"])
        self.best = Best(**state.facts["best"])
        self._best_weights = load_safetensors(self.folder.path / WEIGHTS)
        for line in self.metrics:
            self.loop.curve.add(line["loss"])
        return state

    def train(self, state: State | None = None) -> None:
        """Train to the end, keeping every finished epoch: now and then, and when interrupted or failing."""
        steps = self.loop.total_steps()
        self.loop.progress.start("training", steps, "steps")
        self._began = time.monotonic()
        self._write_at = self._began + _WRITE_EVERY_S
        restore = None if state is None else lambda optimizer: restore_optimizer(optimizer, state)
        try:
            for result in self.loop.run(restore):
                self._finish(result, steps)
        except BaseException as error:
            self._write()
            if isinstance(error, KeyboardInterrupt) and self.metrics:
                log.info("%s keeps %d epochs; --resume goes on from there", self.folder.path, len(self.metrics))
            raise
        self._write()

    def _finish(self, result: EpochResult, steps: int) -> None:
        """Measure, log and keep a finished epoch."""
        every = self.eval_every or max(1, self.loop.epochs() // 20)
        due = result.last_of_phase or result.epoch % every == 0
        validation = asdict(self.validate()) if due and self.validate else None
        phase = self.loop.position.phase
        improved = self._improves(phase, validation)
        if improved:
            self.best = Best(phase, result.epoch, validation)
            self._best_weights = copy_weights(self.loop.method)
        assert self.loop.optimizer is not None
        self.metrics.append(_metrics(result, validation))
        self._state = snapshot(self.loop.method, self.loop.optimizer, self._facts())
        if due:
            log.info(self._line(result, validation, improved, steps))
        if result.last_of_phase or time.monotonic() > self._write_at:
            self._write()

    def _improves(self, phase: int, validation: dict[str, Any] | None) -> bool:
        if self.best is None or self.best.phase != phase or self.best.validation is None:
            return True
        return validation is not None and validation["median_error_km"] < self.best.validation["median_error_km"]

    def _facts(self) -> dict[str, Any]:
        assert self.best is not None
        return {
            "settings": self.settings,
            "position": asdict(self.loop.position),
            "epochs_done": len(self.metrics),
            "best": asdict(self.best),
        }

    def _write(self) -> None:
        """Put on disk what is not there yet; the next time not before ten times as long has passed."""
        if self._state is None or self.best is None:
            return
        began = time.monotonic()
        phases = self.loop.method.phases
        best = {"phase": phases[self.best.phase], "epoch": self.best.epoch, "validation": self.best.validation}
        at = self._state.facts["position"]
        last = {"phase": phases[at["phase"]], "epoch": at["epoch"]}
        # An interrupt may fall between an epoch's metrics and its state: the state decides.
        metrics = self.metrics[: self._state.facts["epochs_done"]]
        self.folder.write(self._best_weights, best, self._state, last, metrics)
        self._state = None
        now = time.monotonic()
        self._write_at = now + max(_WRITE_EVERY_S, 10 * (now - began))

    def _line(self, result: EpochResult, validation: dict[str, Any] | None, improved: bool, steps: int) -> str:
        """One line for people: epoch, loss, error, rate, time left."""
        parts = [f"{result.phase} {result.epoch}/{self.loop.epochs()}", f"loss {result.losses['total']:.4g}"]
        if validation:
            best = " (best)" if improved else ""
            parts.append(f"median error {format_km(validation['median_error_km'])}{best}")
            parts.append(_within(validation["within"]))
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


def _within(shares: dict[str, float]) -> str:
    """Shares of frames within so many km, up to the first that holds practically all."""
    shown = []
    for radius, share in shares.items():
        shown.append(f"{share:.0%} in {radius} km")
        if share > 0.995:
            break
    return " ".join(shown)


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
