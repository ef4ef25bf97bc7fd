"""Frames or videos through frozen encoders into one feature file that resumes."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from vgeo import datasets
from vgeo.datasets.base import Recipe
from vgeo.device import Compute, announce, choose
from vgeo.encoders._windows import common_windows
from vgeo.encoders.base import Encoder
from vgeo.errors import UsageError
from vgeo.formats.features import FeatureWriter
from vgeo.formats.frame_folder import fingerprint
from vgeo.logs import SILENT, Progress
from vgeo.records import Outcome, format_utc
from vgeo.stages.batch import Batch, Item
from vgeo.stages.clip_labels import label_clips
from vgeo.stages.encode import FrameStream, Viewing, encode_stream, load_encoders, streams_ahead
from vgeo.stages.layouts import clips_of
from vgeo.stages.method_encoder import own_view
from vgeo.stages.published_clips import add_published
from vgeo.stages.train_aerial import GAMA
from vgeo.stages.turns import Turns, say_skipped
from vgeo.video.clips import Clip, TrackSource, files_of
from vgeo.video.sampling import Sampling
from vgeo.video.sources import frames_of

log = logging.getLogger(__name__)

DEFAULT_ENCODER = "gist"


def default_inputs() -> list[str]:
    """What a bare command reads: frames/ where it is, else clips/."""
    return ["frames"] if Path("frames").is_dir() else ["clips"]


def precompute_features(
    inputs: Sequence[str | Path],
    out: str | Path = "features.h5",
    encoder_names: Sequence[str] = (),
    *,
    model: str | Path | None = None,
    weights: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    sampling: Sampling = Sampling(),
    source: TrackSource = TrackSource(),
    layout: str | None = None,
    recipe: Recipe = Recipe(),
    labels: Path | None = None,
    decoder: str = "pyav",
    batch_size: int = 32,
    workers: int = 2,
    compute: Compute | None = None,
    offline: bool = False,
    overwrite: bool = False,
    report: Path | None = None,
    fail_fast: bool = False,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Fill the feature file `out`; videos that are in it, or were finished by an interrupted run, are skipped.

    Several processes that are given the same `out` and settings divide the clips among them.
    inputs: see `find_clips`; with `layout`, the folder of that data set, whose sequences are made by `recipe`.
    labels: a table of clips' cities and splits, see `label_clips`; some layouts read it themselves.
    encoder_names: none is gist. model: a folder whose model sees clips itself, as gama does, in place of encoders; its
    features are what `localize` and `rank` search with. weights, settings: see `load_encoders`. workers: clips that are
    decoded at a time, in threads. compute: chosen by itself when None.
    Raises InputError when there is nothing to do, MissingModelError, SettingError when `out` was made otherwise,
    OutputError, BusyError, DiskError. What one clip raises becomes its outcome.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")
    viewing = Viewing(sampling=sampling, source=source, decoder=decoder, batch_size=batch_size)
    if layout is not None and datasets.get(layout).reads_labels:
        recipe, labels = replace(recipe, labels=labels), None
    published = model is not None and layout is not None
    if published and (layout != GAMA or len(inputs) != 1 or labels is not None):
        raise UsageError(f"--model with --layout {layout}: clips are read of one folder of {GAMA}")
    clips, failures, made_by = (
        ([], [], f"; clips of {GAMA}") if published else clips_of(inputs, layout, recipe, progress)
    )
    if labels is not None:
        clips = label_clips(clips, labels)
    compute = compute or choose()
    if model is not None:
        if encoder_names or weights or settings:
            raise UsageError("--model sees for itself: leave out --encoder, --weights and --set")
        announce(compute)
        own, viewing = own_view(Path(model), compute, viewing)
        encoders: dict[str, Encoder] = {own.spec.name: own}
    else:
        encoders = _frozen(encoder_names, compute, weights, settings, offline)
    specs = {name: encoder.spec for name, encoder in encoders.items()}
    with (
        FeatureWriter(
            out, specs, viewing.sampling.describe() + made_by, _describe_decoder(decoder), overwrite
        ) as writer,
        Batch(report, fail_fast) as batch,
    ):
        for name, error in failures:
            with batch.item(name):
                raise error
        if published:
            names = add_published(Path(inputs[0]), own, writer, batch, recipe, progress)
        else:
            names = [clip.video_id for clip in clips]
            progress.start("precompute-features", len(clips), "clips")
            _work(clips, viewing, workers, encoders, writer, batch, progress)
        if writer.done:
            writer.finish(names)
    _summarize(batch.outcomes, Path(out))
    return batch.outcomes


def _frozen(
    names: Sequence[str], compute: Compute, weights: Mapping[str, str] | None, settings: Sequence[str], offline: bool
) -> dict[str, Encoder]:
    """The encoders of these names; gist without any."""
    if not names:
        log.info("encoder gist, which needs no weights; -e clip -e dinov2 see more and download theirs")
    if set(names) - {DEFAULT_ENCODER}:  # gist always runs on the CPU in float32
        announce(compute)
    return load_encoders(names or [DEFAULT_ENCODER], compute, weights=weights, settings=settings, offline=offline)


def _work(
    clips: Sequence[Clip],
    viewing: Viewing,
    workers: int,
    encoders: Mapping[str, Encoder],
    writer: FeatureWriter,
    batch: Batch,
    progress: Progress,
) -> None:
    made_from = _fingerprints(clips, viewing.source)
    turns = Turns(
        clips,
        writer.claims,
        batch,
        key=lambda clip: clip.video_id,
        stamp=lambda clip: made_from[clip.video_id],
        finished=lambda clip: writer.finished(clip.video_id, made_from[clip.video_id]),
        progress=progress,
    )
    with closing(streams_ahead(turns.ahead(), viewing, workers, common_windows(encoders))) as streams:
        for turn in turns:
            clip = turn.one
            with turns.work(turn, clip.name) as item:
                item.outputs = [str(writer.path)]
                if turn.finished:
                    item.skip("finished before")
                    progress.advance(1, clip.video_id)
                else:
                    _one(next(streams), encoders, writer, item, made_from[clip.video_id], progress)


def _one(
    stream: FrameStream,
    encoders: Mapping[str, Encoder],
    writer: FeatureWriter,
    item: Item,
    made_from: str,
    progress: Progress,
) -> None:
    """Encode and store one clip, and say what came of it."""
    found = encode_stream(stream, encoders, progress)
    item.frames, item.declared_frames = found.frames, found.declared
    item.message = "; ".join(found.remarks)
    writer.add(
        found.video_id,
        found.features,
        found.time_s,
        found.latlon_deg,
        start_utc=None if found.start_utc is None else format_utc(found.start_utc),
        labels=found.labels,
        source=str(stream.clip.path),
        made_from=made_from,
        frame_index=found.frame_index,
    )
    remarks = f" ({item.message})" if item.message else ""
    placed = int(np.isfinite(found.latlon_deg[:, 0]).sum())
    rows = len(found.time_s)
    windows = "" if rows == found.frames else f" in {rows} window{'s' * (rows != 1)}"
    log.info("%s: %d frames%s, %d with a position%s", found.video_id, item.frames, windows, placed, remarks)


def _summarize(outcomes: Sequence[Outcome], out: Path) -> None:
    say_skipped(outcomes, "clips")
    done = sum(outcome.status == "done" for outcome in outcomes)
    if done:
        size_kb = os.path.getsize(out) / 1e3
        frames = sum(outcome.frames for outcome in outcomes if outcome.status == "done")
        log.info(
            "%s: %d clips, %d frames added, %s",
            out,
            done,
            frames,
            f"{size_kb / 1e3:.1f} MB" if size_kb > 1e3 else f"{size_kb:.0f} kB",
        )


def _describe_decoder(decoder: str) -> str:
    """Name and versions: another decoder may give other pixels, or other frames."""
    if decoder == "decord":
        from importlib.metadata import version

        return f"decord2 {version('decord2')}"
    return f"{decoder} {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def _fingerprints(clips: Sequence[Clip], source: TrackSource) -> dict[str, str]:
    """By video, a digest of the files that its features and positions come from, and of how positions are joined."""
    return {clip.video_id: _fingerprint(clip, source) for clip in clips}


def _fingerprint(clip: Clip, source: TrackSource) -> str:
    facts: object
    if clip.frames is not None:  # a data set's pictures stay as they are: a million of them are not looked at
        facts = repr(clip.frames())
    elif clip.kind == "frames":
        records = frames_of(clip.path).get(clip.video_id, [])
        facts = [repr(records), fingerprint(clip.path.parent / record.path for record in records)]
    else:
        facts = fingerprint(files_of(clip, source))
    text = json.dumps([facts, source.time_offset_s, source.max_gap_s, *([dict(clip.labels)] if clip.labels else [])])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
