"""Where a run starts: weights as drawn or released, or a model that was trained before."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, SettingError, UsageError
from vgeo.formats.checkpoints import ModelFiles, read_model
from vgeo.methods.base import Method
from vgeo.stages.models import load_released, load_strictly

log = logging.getLogger(__name__)


def read_start(folder: Path, method: str | None) -> ModelFiles:
    """Read the model that a run starts from. Raises UsageError when it is of another method than asked for."""
    files = read_model(folder)
    if method not in (None, files.method):
        raise UsageError(f"--from {folder}: holds a model of {files.method}, not of {method}; leave out --method")
    return files


def load_start(
    model: Method,
    method: str,
    start: ModelFiles | None,
    weights: Mapping[str, str] | None,
    others: Collection[str] = (),
) -> None:
    """Load the weights to start from: those of `start`, else the released ones where the settings ask for them.

    What `start` was not trained in yet stays as it was drawn, and may be of another architecture; so do the modules
    called `others`.
    Raises FormatError that names the first difference; SettingError, MissingModelError of released weights.
    """
    if start is None:
        load_released(model, method, weights)
        return
    drawn = _untrained(model, _later(model, start)) | set(others)
    load_strictly(model, start, drawn)
    log.info("weights of %s%s", start.folder, f"; {', '.join(sorted(drawn))} from scratch" if drawn else "")


def trained_phase(start: ModelFiles | None) -> str | None:
    """The phase that a model's weights come from; None when it is not known."""
    phase = start.extra.get("phase") if start else None
    return phase if isinstance(phase, str) else None


def check_phase(model: Method, method: str, phase: str | None, start: ModelFiles | None) -> None:
    """Raise SettingError when there is no such phase, or when the one before it has not been trained."""
    if phase is None:
        return
    if phase not in model.phases:
        raise SettingError(f"--phase {phase}: with these settings {method} trains {', '.join(model.phases)}")
    before = model.phases[: model.phases.index(phase)]
    trained = trained_phase(start)
    if before and trained not in (before[-1], *model.phases[len(before) :]):
        raise SettingError(
            f"phase {phase} needs a model whose phase {before[-1]} is trained: give it with --from, "
            "or leave out --phase to train both"
        )


def check_features(start: ModelFiles, encoders: Mapping[str, EncoderSpec]) -> None:
    """Raise FormatError when features were made otherwise than those that the model was trained on."""
    for name, spec in encoders.items():
        if name in start.encoders and not spec.same_features(start.encoders[name]):
            raise FormatError(
                f"{start.folder}: was trained on {name} features made otherwise than these; compute them alike with "
                "precompute-features, or train without --from"
            )


def _untrained(model: Method, later: Sequence[str]) -> set[str]:
    """The model's modules that only these phases train, by name."""
    done = {id(p) for phase in model.phases if phase not in later for p in model.trainable(phase)}
    left = {id(p) for phase in later for p in model.trainable(phase)} - done
    all_left: dict[str, bool] = {}
    for name, parameter in model.named_parameters():
        module = name.partition(".")[0]
        all_left[module] = all_left.get(module, True) and id(parameter) in left
    return {module for module, untrained in all_left.items() if untrained}


def _later(model: Method, start: ModelFiles) -> Sequence[str]:
    """The phases that the model to start from has not been trained in; none when that is not known."""
    phase = trained_phase(start)
    return model.phases[model.phases.index(phase) + 1 :] if phase in model.phases else ()
