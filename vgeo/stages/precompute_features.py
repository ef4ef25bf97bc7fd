"""Frames or videos through frozen encoders into one feature file that resumes."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from vgeo import datasets
from vgeo.datasets.base import Recipe
from vgeo.device import Compute, choose
from vgeo.errors import UsageError
from vgeo.formats.features import FeatureWriter
from vgeo.formats.frame_folder import fingerprint
from vgeo.formats.shards import Shard, share_of
from vgeo.logs import SILENT, Progress
from vgeo.records import Outcome, format_utc
from vgeo.stages.batch import Batch, Item
from vgeo.stages.clip_labels import label_clips
from vgeo.stages.cluster import Cluster, Where
from vgeo.stages.cluster_work import ClusterEyes, Encoding
from vgeo.stages.encode import ClipFeatures, Viewing
from vgeo.stages.eyes import Eyes
from vgeo.stages.layouts import clips_of
from vgeo.stages.published_clips import add_published
from vgeo.stages.train_aerial import GAMA
from vgeo.stages.turns import Turns, say_skipped
from vgeo.video.clips import Clip, TrackSource, files_of
from vgeo.video.sampling import Sampling
from vgeo.video.sources import frames_of

log = logging.getLogger(__name__)


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
    cluster: Where | None = None,
    offline: bool = False,
    overwrite: bool = False,
    report: Path | None = None,
    fail_fast: bool = False,
    shard: Shard | None = None,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Fill the feature file `out`; videos that are in it, or were finished by an interrupted run, are skipped.

    Several processes that are given the same `out` and settings divide the clips among them.
    inputs: see `find_clips`; with `layout`, the folder of that data set, whose sequences are made by `recipe`.
    labels: a table of clips' cities and splits, see `label_clips`; some layouts read it themselves.
    encoder_names: none is gist. model: a folder whose model sees clips itself, as gama does, in place of encoders; its
    features are what `localize` and `rank` search with. weights, settings: see `load_encoders`. workers: clips that are
    decoded at a time, in threads. compute: chosen by itself when None. cluster: clips are spread over its workers.
    shard: only its part of the clips, which are marked for `merge`.
    Raises InputError when there is nothing to do, MissingModelError, SettingError when `out` was made otherwise,
    OutputError, BusyError, DiskError. What one clip raises becomes its outcome.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")
    viewing = Viewing(sampling=sampling, source=source, decoder=decoder, batch_size=batch_size)
    if layout is not None and datasets.get(layout).reads_labels:
        recipe, labels = replace(recipe, labels=labels), None
    published = model is not None and layout is not None
    if layout is not None and cluster is not None:
        raise UsageError("--ray: goes over videos, folders and lists; spread a data set with --shard")
    if published and (layout != GAMA or len(inputs) != 1 or labels is not None):
        raise UsageError(f"--model with --layout {layout}: clips are read of one folder of {GAMA}")
    clips, failures, made_by = (
        ([], [], f"; clips of {GAMA}") if published else clips_of(inputs, layout, recipe, progress)
    )
    if labels is not None:
        clips = label_clips(clips, labels)
    undivided = [clip.video_id for clip in clips]
    clips, marks = share_of(shard, clips, lambda clip: clip.name, [name for name, _ in failures])
    if shard is not None and shard.number > 1:
        failures = []
    with ExitStack() as stack:
        loading = Encoding(
            viewing=viewing, encoder_names=encoder_names, model=model, weights=weights or {}, settings=settings,
            offline=offline,
        )  # fmt: skip
        if cluster is None:
            eyes: Eyes | ClusterEyes = loading.here(compute or choose(), workers)
        else:
            eyes = ClusterEyes(stack.enter_context(Cluster(cluster, loading, len(clips))))
        writer = stack.enter_context(
            FeatureWriter(out, eyes.specs, eyes.sampling + made_by, _describe_decoder(decoder), overwrite, shard)
        )
        batch = stack.enter_context(Batch(report, fail_fast, marks))
        for name, error in failures:
            with batch.item(name):
                raise error
        if published:
            assert isinstance(eyes, Eyes)  # a layout is refused with a cluster
            names = undivided = add_published(Path(inputs[0]), eyes.own, writer, batch, recipe, shard, progress)
        else:
            names = [clip.video_id for clip in clips]
            progress.start("precompute-features", len(clips), "clips")
            _work(clips, source, eyes, writer, batch, progress)
        if writer.done:
            writer.finish(names, undivided)
    _summarize(batch.outcomes, Path(out))
    return batch.outcomes


def _work(
    clips: Sequence[Clip],
    source: TrackSource,
    eyes: Eyes | ClusterEyes,
    writer: FeatureWriter,
    batch: Batch,
    progress: Progress,
) -> None:
    made_from = _fingerprints(clips, source)
    turns = Turns(
        clips,
        writer.claims,
        batch,
        key=lambda clip: clip.video_id,
        stamp=lambda clip: made_from[clip.video_id],
        finished=lambda clip: writer.finished(clip.video_id, made_from[clip.video_id]),
        progress=progress,
    )
    for turn, seen in eyes.see(turns, progress):
        clip = turn.one
        with turns.work(turn, clip.name) as item:
            item.outputs = [str(writer.path)]
            if turn.finished:
                item.skip("finished before")
                progress.advance(1, clip.video_id)
            else:
                _store(seen(), clip, writer, item, made_from[clip.video_id])


def _store(found: ClipFeatures, clip: Clip, writer: FeatureWriter, item: Item, made_from: str) -> None:
    """Store what was seen of a clip, and say so."""
    item.frames, item.declared_frames = found.frames, found.declared
    item.message = "; ".join(found.remarks)
    writer.add(
        found.video_id,
        found.features,
        found.time_s,
        found.latlon_deg,
        start_utc=None if found.start_utc is None else format_utc(found.start_utc),
        labels=found.labels,
        source=str(clip.path),
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
