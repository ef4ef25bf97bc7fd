"""What sees clips that are localized: the encoders that a model or gallery was made with, or a model's own backbone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vgeo.device import Compute
from vgeo.encoders.base import Encoder, EncoderSpec
from vgeo.errors import MissingModelError, UsageError
from vgeo.methods.base import OWN
from vgeo.stages.classifier import ClassLocalizer
from vgeo.stages.encode import load_encoders
from vgeo.stages.localize_inputs import Task, check_features, matching
from vgeo.stages.method_encoder import own_sampling
from vgeo.stages.models import Model
from vgeo.video.sampling import Sampling

log = logging.getLogger(__name__)


def as_trained(sampling: Sampling, model: Model, tasks: Sequence[Task]) -> Sampling:
    """The sampling, at the rate of the frames that the model was trained on where nobody chose another for videos."""
    if model.method.rate_hz is not None:
        return own_sampling(sampling, model)
    chosen = sampling != Sampling(start_s=sampling.start_s, end_s=sampling.end_s)
    videos = [task for task in tasks if task.clip is not None and task.clip.kind == "video"]
    others = len(videos) < sum(task.clip is not None for task in tasks)
    # Pictures without a clock count as one a second, which is what videos are sampled at anyway.
    if model.rate_hz in (None, 1.0) or chosen or not videos or others:
        return sampling
    log.info("%.3g frames a second, as it was trained on", model.rate_hz)
    return replace(sampling, rate_hz=model.rate_hz)


def check_files(tasks: Sequence[Task], needed: Mapping[str, EncoderSpec]) -> None:
    """Raise SettingError for a feature file that the model cannot read."""
    for file in {id(task.file): task.file for task in tasks if task.file is not None}.values():
        for spec in needed.values():
            check_features(spec, file.encoders[matching(file, spec)], str(file.path))


def own_eyes(
    placer: ClassLocalizer, tasks: Sequence[Task], compute: Compute, weights: Mapping[str, str], offline: bool
) -> dict[str, Encoder]:
    """What sees clips for a model that knows classes: its own backbone, or the encoder of its features."""
    own = placer.own_encoder()
    if own is not None:
        if of_features := [task.name for task in tasks if task.file is not None]:
            raise UsageError(
                f"{of_features[0]}: {placer.model.name} was trained with its own backbone and sees frames; name clips "
                "or a folder of frames"
            )
        return {OWN: own}
    check_files(tasks, placer.needed)
    if any(task.clip is not None for task in tasks):
        return encoders_of(placer.needed, placer.model, compute, weights, offline)
    return {}


def encoders_of(
    needed: Mapping[str, EncoderSpec], model: Model, compute: Compute, weights: Mapping[str, str], offline: bool
) -> dict[str, Encoder]:
    """Rebuild the encoders that the model or gallery was made with, and check that they are the same."""
    given = dict(weights)
    if "" in given:  # not said whose
        if len(needed) != 1:
            raise UsageError(f"--weights {given['']}: say whose, as in --weights {next(iter(needed))}=PATH")
        given[next(iter(needed))] = given.pop("")
    # Of released weights only the encoder's name is known; everything else is rebuilt as it was.
    wanted = [spec if spec.weights_hash else spec.name for spec in needed.values()]
    try:
        loaded = load_encoders(wanted, compute, weights=given, offline=offline)
    except MissingModelError as error:
        if model.folder is not None or model.name != "geoclip":
            raise
        raise MissingModelError(
            f"{error}\n  or use what is here: 'vgeo localize CLIP --method nearest --gallery gallery.h5' "
            "against reference frames of any encoder"
        ) from error
    encoders = {name: loaded[spec.name] for name, spec in needed.items()}
    for name, spec in needed.items():
        check_features(spec, encoders[name].spec, f"encoder {name}")
    return encoders
