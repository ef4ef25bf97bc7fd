"""Say where clips are: videos, frames or features in, one Localization a clip out."""

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from vgeo.device import announce, choose
from vgeo.encoders._windows import common_windows
from vgeo.encoders.base import Encoder
from vgeo.errors import InputError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import OWN, Classifier
from vgeo.records import Localization, parse_utc
from vgeo.stages.batch import Batch, Item
from vgeo.stages.classifier import ClassLocalizer
from vgeo.stages.encode import FrameStream, Viewing, encode_stream, streams_ahead
from vgeo.stages.hierarchy import Screen
from vgeo.stages.localize_eyes import as_trained, check_files, encoders_of, own_eyes
from vgeo.stages.localize_inputs import PathLike, Task, find_tasks, matching
from vgeo.stages.localize_models import default_model, gallery_of, screen_of
from vgeo.stages.localizer import ClipQuery, Localizer, needed_by
from vgeo.stages.method_encoder import MethodEncoder
from vgeo.stages.models import Model, load_model
from vgeo.stages.searches import check_refinable
from vgeo.stages.smoothing import Smoothing
from vgeo.stages.turns import Turn, Turns
from vgeo.video.clips import TrackSource, check_opening
from vgeo.video.sampling import Sampling

log = logging.getLogger(__name__)

AHEAD = max(2, min(4, os.cpu_count() or 1))  # clips that are decoded at a time

Streams = Generator[FrameStream, None, None]
Answers = Iterator[tuple[Turn[Task], Callable[[Item], Localization]]]


def localize(
    inputs: PathLike | Sequence[PathLike] = (),
    model: PathLike | Model | None = None,
    gallery: PathLike | Gallery | None = None,
    *,
    top_k: int = 5,
    places: bool = True,
    vote: str | None = None,
    refine_km: float | None = None,
    per_window: bool = False,
    screening: PathLike | Model | None = None,
    keep: str | None = None,
    smoothing: Smoothing | None = None,
    split: str | None = None,
    sampling: Sampling = Sampling(),
    source: TrackSource = TrackSource(),
    decoder: str = "pyav",
    settings: Sequence[str] = (),
    weights: Mapping[str, str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    batch: Batch | None = None,
    progress: Progress = SILENT,
) -> Iterator[Localization]:
    """Localize clips one after the other, lazily: each is encoded and answered when it is asked for, decoded ahead.

        for clip in vgeo.localize("walk.mp4"):
            print(clip.track.video_id, clip.track.latlon_deg[0], clip.confidence[0])

    inputs: videos, folders, lists, frames.jsonl, feature files (.h5), one or several; none: features.h5 if it is here,
    else clips/. model: a model folder, a method's name, or what `load_model` returned; None: the newest in models/,
    else GeoCLIP's released weights. gallery: a file or a Gallery; None: the model's own, else gallery.h5.
    top_k: candidates a frame. places: name the nearest city. vote: how frames decide on the clip's city, where the
    gallery names cities: majority (None) or centroid; of a model that knows classes, how windows do: mean (None) or
    majority. refine_km: divide the best places of the gallery until they are so near to each other, with a model that
    was trained for it (`level_radii_km`). per_window: of a model that knows classes, a place for each window instead of
    one for the clip. screening: of a model of tiles, a screening network that finds the regions in which clips are
    searched for again; None: models/screening where it is here, "none": none. keep: how many of these regions, or which
    share of all, 1% when None. smoothing: let a clip's frames agree on a path. split: of feature files and folders of
    frames only clips of this label split. sampling, source, decoder: which frames of a clip, and what gives them
    absolute time. settings: of the method, `key=value`.
    weights: local files instead of the hub's or the package's, by encoder or method ("" is the only encoder). batch:
    takes the outcomes; a clip that fails is then left out, without it the error is raised.
    Raises, before the first clip: InputError, FormatError, SettingError, MissingModelError, UsageError.
    """
    prepared = prepare(
        find_tasks(inputs, split), model, gallery, top_k=top_k, places=places, vote=vote, refine_km=refine_km,
        per_window=per_window, screening=screening, keep=keep, smoothing=smoothing, sampling=sampling, source=source,
        decoder=decoder, settings=settings, weights=weights, device=device, precision=precision, offline=offline,
        progress=progress,
    )  # fmt: skip
    return prepared.run(batch, progress)


@dataclass(slots=True)
class Prepared:
    """Everything that is loaded once: tasks, model, gallery keys and, where clips need them, encoders."""

    tasks: Sequence[Task]
    localizer: Localizer | ClassLocalizer
    encoders: dict[str, Encoder]
    viewing: Viewing

    def run(self, batch: Batch | None = None, progress: Progress = SILENT, out: str = "") -> Iterator[Localization]:
        """Localize all tasks, in order. out: where they go, for the report."""
        progress.start("localize", len(self.tasks), "clips")
        with self.streams(self.tasks) as streams:
            for task in self.tasks:
                found = None
                with batch.item(task.name) if batch else nullcontext(Item()) as item:
                    item.outputs = [out] if out else []
                    found = self.one(task, streams, item, progress)
                if found is not None:
                    yield found

    def streams(self, tasks: Iterable[Task | None]) -> closing[Streams]:
        """Decode the clips of some tasks ahead of `one`, which takes them in this order; None: see `streams_ahead`."""
        clips = (None if task is None else task.clip for task in tasks if task is None or task.clip is not None)
        return closing(streams_ahead(clips, self.viewing, AHEAD, common_windows(self.encoders)))

    def answers(self, turns: Turns[Task], progress: Progress = SILENT) -> Answers:
        """Yield each turn with what localizes it, to be called where it is not finished."""
        with self.streams(turns.ahead()) as streams:
            for turn in turns:
                yield turn, partial(self.one, turn.one, streams, progress=progress)

    @property
    def gallery(self) -> Gallery:
        """What is searched."""
        return self.localizer.gallery

    def one(self, task: Task, streams: Iterator[FrameStream], item: Item, progress: Progress = SILENT) -> Localization:
        """Localize one task, and note frames and remarks in its item."""
        return self.localizer(self.query(task, streams, item, progress))

    def query(self, task: Task, streams: Iterator[FrameStream], item: Item, progress: Progress = SILENT) -> ClipQuery:
        """Read or encode one task, and note frames and remarks in its item."""
        if task.file is not None:
            query = self._from_file(task)
            progress.advance(1, task.video_id)
        else:
            query = self._from_clip(next(streams), item, progress)
        item.frames = len(query.time_s)
        if not item.frames:
            raise InputError(f"{task.name}: no frames; choose others with --rate-hz, --start-s and --end-s")
        if isinstance(self.localizer, ClassLocalizer) and (remark := self.localizer.remark(item.frames)):
            item.message = "; ".join(filter(None, [item.message, remark]))
        return query

    @property
    def screen(self) -> Screen | None:
        """What finds the regions of a gallery of tiles, where something does."""
        return self.localizer.screen if isinstance(self.localizer, Localizer) else None

    @property
    def smoothing(self) -> Smoothing | None:
        """How frames agree on a path, where they do."""
        return self.localizer.smoothing if isinstance(self.localizer, Localizer) else None

    def facts(self) -> dict[str, Any]:
        """What decides the answers."""
        return {
            "method": self.localizer.model.name,
            "model": self.localizer.model.hash,
            "gallery": self.localizer.gallery.digest,
            "top_k": self.localizer.top_k,
            "places": self.localizer.places,
            "vote": self.localizer.rule or "",
            "refine_km": self.localizer.refine_km or 0.0,
            "screening": self.screen.model.hash if self.screen else "",
            "keep": self.screen.keep if self.screen else "",
            "smoothing": asdict(self.smoothing) if self.smoothing else "",
            "per_window": isinstance(self.localizer, ClassLocalizer) and self.localizer.per_window,
            "sampling": self.viewing.sampling.describe(),
            "decoder": self.viewing.decoder,
        }

    def _from_file(self, task: Task) -> ClipQuery:
        assert task.file is not None
        rows = task.file.rows(task.video)
        start_utc = task.file.start_utc[task.video]
        names = {name: matching(task.file, spec) for name, spec in self.localizer.needed.items()}
        numbers = task.file.frame_index[rows]
        return ClipQuery(
            video_id=task.video_id,
            source=task.file.sources[task.video] or str(task.file.path),
            features={name: task.file.features(stored)[rows] for name, stored in names.items()},
            time_s=task.file.time_s[rows],
            frame_index=numbers if (numbers >= 0).all() else None,
            start_utc=parse_utc(start_utc) if start_utc else None,
        )

    def _from_clip(self, stream: FrameStream, item: Item, progress: Progress) -> ClipQuery:
        found = encode_stream(stream, self.encoders, progress)
        item.declared_frames, item.message = found.declared, "; ".join(found.remarks)
        if found.remarks:
            log.info("%s: %s", found.video_id, item.message)
        return ClipQuery(
            video_id=found.video_id,
            source=str(stream.clip.path),
            features=found.features,
            time_s=found.time_s,
            frame_index=found.frame_index,
            start_utc=found.start_utc,
        )


def prepare(
    tasks: Sequence[Task],
    model: PathLike | Model | None = None,
    gallery: PathLike | Gallery | None = None,
    *,
    top_k: int = 5,
    places: bool = True,
    vote: str | None = None,
    refine_km: float | None = None,
    per_window: bool = False,
    screening: PathLike | Model | None = None,
    keep: str | None = None,
    smoothing: Smoothing | None = None,
    sampling: Sampling = Sampling(),
    source: TrackSource = TrackSource(),
    decoder: str = "pyav",
    settings: Sequence[str] = (),
    weights: Mapping[str, str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    progress: Progress = SILENT,
) -> Prepared:
    """Load what the clips need that `find_tasks` found; parameters and errors as in `localize`."""
    if top_k < 1:
        raise UsageError(f"--top-k {top_k}: must be at least 1")
    check_opening(decoder, source)
    if sampling != Sampling() and any(task.file is not None for task in tasks):
        log.warning("feature files are taken whole: what chooses frames, as --rate-hz does, is for clips")
    compute = choose(device, precision)
    chosen = dict(weights or {})
    loaded = model if isinstance(model, Model) else load_model(default_model(model), settings=settings, weights=chosen)
    viewing = Viewing(sampling=as_trained(sampling, loaded, tasks), source=source, decoder=decoder)
    if loaded.method.gallery_kind == "regions":
        raise UsageError(
            f"{loaded.name} finds regions for what gama has placed: 'vgeo localize CLIP --method gama --screening "
            f"{loaded.folder}', or 'vgeo rank'"
        )
    screen = screen_of(loaded, screening, keep)
    if isinstance(loaded.method, Classifier):
        _refuse(loaded, {"gallery": gallery, "refine-km": refine_km, "smooth": smoothing})
        announce(compute)
        placer = ClassLocalizer(loaded, compute, top_k=top_k, places=places, by_vote=vote, per_window=per_window)
        return Prepared(tasks, placer, own_eyes(placer, tasks, compute, chosen, offline), viewing)
    if per_window:
        raise UsageError(f"--per-window: {loaded.name} answers for each frame; leave it out")
    if refine_km is not None:
        check_refinable(loaded, refine_km)
    candidates = gallery if isinstance(gallery, Gallery) else gallery_of(gallery, loaded)
    needed = needed_by(loaded, candidates)
    check_files(tasks, needed)
    announce(compute)
    encoders: dict[str, Encoder] = {}
    if OWN in needed:
        encoders = {OWN: MethodEncoder(loaded, compute)}
    elif any(task.clip is not None for task in tasks):
        encoders = encoders_of(needed, loaded, compute, chosen, offline)
    localizer = Localizer(
        loaded, candidates, compute, top_k=top_k, places=places, by_vote=vote, refine_km=refine_km, screen=screen,
        smoothing=smoothing, progress=progress,
    )  # fmt: skip
    return Prepared(tasks, localizer, encoders, viewing)


def _refuse(model: Model, asked: Mapping[str, Any]) -> None:
    """Raise UsageError for what a model that knows cities as classes cannot do."""
    why = {
        "gallery": "answers with the cities it was trained on",
        "refine-km": "knows cities, which are not divided",
        "smooth": "answers for a whole clip, not frame by frame",
    }
    for option, value in asked.items():
        if value is not None:
            raise UsageError(f"--{option}: {model.name} {why[option]}; leave it out")
