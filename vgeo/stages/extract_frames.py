"""Videos to JPEGs and one JSON line a frame, with positions where there is a track and labels where a table names them.

Long videos may be cut into clips, see `long_videos`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vgeo.errors import UsageError, VgeoError
from vgeo.formats.frame_folder import Fingerprint, FrameFolder, fingerprint
from vgeo.formats.shards import COLUMN, Shard, share_of
from vgeo.logs import SILENT, Progress
from vgeo.records import Outcome
from vgeo.stages.batch import Batch, Item
from vgeo.stages.clip_labels import label_clips
from vgeo.stages.cut_labels import CutLabels
from vgeo.stages.long_videos import LongVideo, carried_labels, cut
from vgeo.stages.pictures import Pictures
from vgeo.stages.turns import Turns, say_skipped
from vgeo.video.clips import Clip, OpenClip, TrackSource, check_opening, files_of, find_clips, open_clip
from vgeo.video.cutting import Cutting
from vgeo.video.faces import DETECTOR, FaceBlur
from vgeo.video.pixels import RESIZING
from vgeo.video.sampling import Sampling

log = logging.getLogger(__name__)


def extract_frames(
    inputs: Sequence[str | Path],
    out: Path,
    sampling: Sampling = Sampling(),
    *,
    cutting: Cutting | None = None,
    labels: Path | None = None,
    size: int | None = None,
    square: bool = False,
    quality: int = 92,
    blur_faces: bool = False,
    decoder: str = "pyav",
    source: TrackSource = TrackSource(),
    overwrite: bool = False,
    report: Path | None = None,
    fail_fast: bool = False,
    shard: Shard | None = None,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Fill `out` with <video_id>/<frame>.jpg and frames.jsonl; what was finished before is skipped.

    Several processes that are given the same `out` and settings divide the clips among them.
    inputs: see `find_clips`. cutting: None leaves videos whole, else each becomes clips, and `sampling` only says
    between what times. labels: a table of clips' cities and splits, see `label_clips` and `CutLabels`; finished clips
    get other labels without being decoded again. size: pixels of the shorter side, with `square` of both, None as
    stored. quality: of JPEG, 1 to 100. shard: only its part of the clips.
    Raises InputError when there is nothing to do, SettingError when `out` was made with other settings, OutputError,
    BusyError, DiskError, MissingModelError. What one clip raises becomes its outcome.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"--quality {quality}: must be from 1 to 100")
    if size is not None and size < 1:
        raise UsageError(f"--size {size}: must be at least 1")
    if square and size is None:
        raise UsageError("--square: of how many pixels? give --size, too")
    if cutting is not None:
        cutting.check(sampling)
        sampling = replace(sampling, stride=1)
    check_opening(decoder, source)
    settings = _settings(sampling, cutting, size, square, quality, blur_faces, decoder, source)
    settings |= {} if shard is None else {COLUMN: str(shard)}
    clips = find_clips(inputs, leave_out=out)
    cut_labels, given = None, dict[str, Mapping[str, str]]()
    if labels is not None and cutting is not None:
        cut_labels = CutLabels(labels, [clip.video_id for clip in clips])
    elif labels is not None:
        given = {clip.video_id: clip.labels for clip in label_clips(clips, labels)}
    clips, marks = share_of(shard, clips, lambda clip: clip.name)
    if not clips:
        return []
    pictures = Pictures(quality=quality, blur=FaceBlur() if blur_faces else None)
    progress.start("extract-frames", len(clips), "clips" if cutting is None else "videos")
    with Batch(report, fail_fast, marks) as batch, FrameFolder(out, settings, overwrite) as folder:
        work = _Work(
            folder=folder, sampling=sampling, cutting=cutting, given=given, cut_labels=cut_labels, size=size,
            square=square, pictures=pictures, decoder=decoder, source=source, overwrite=overwrite,
        )  # fmt: skip
        turns = Turns(
            clips, folder.claims, batch, key=lambda clip: clip.video_id, stamp=work.stamp, progress=progress
        )  # fmt: skip
        for turn in turns:
            with turns.work(turn, turn.one.name) as item:
                work.one(turn.one, item)
            progress.advance(1, turn.one.video_id)
    say_skipped(batch.outcomes, "clips" if cutting is None else "videos")
    if blur_faces:
        log.warning("%s: a detector misses faces; look through the pictures before you publish them", out)
    return batch.outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What is the same for every clip."""

    folder: FrameFolder
    sampling: Sampling
    cutting: Cutting | None
    given: Mapping[str, Mapping[str, str]]  # labels of a table, by video that stays whole
    cut_labels: CutLabels | None
    size: int | None
    square: bool
    pictures: Pictures
    decoder: str
    source: TrackSource
    overwrite: bool

    def stamp(self, clip: Clip) -> str:
        """What a clip is made from, as text; "" where that cannot be said, for which `one` will raise."""
        try:
            return str(fingerprint(files_of(clip, self.source)))
        except (OSError, VgeoError):
            return ""

    def one(self, clip: Clip, item: Item) -> None:
        """Extract a clip, or the clips of a long video, unless that was done before."""
        made_from = fingerprint(files_of(clip, self.source))
        if self.cutting is None:
            self._whole(clip, made_from, item)
        else:
            self._cut(clip, self.cutting, made_from, item)

    def _whole(self, clip: Clip, made_from: Fingerprint, item: Item) -> None:
        given = dict(self.given.get(clip.video_id, {}))
        before = None if self.overwrite else self.folder.finished(clip.video_id, made_from)
        if before is not None:
            changed = self.folder.relabel(clip.video_id, before, carried_labels(before) | given)
            item.frames = len(before.records)
            item.skip("finished before" + (", now with other labels" if changed else ""))
        else:
            with self._open(clip) as opened, self.folder.video(clip.video_id) as video:
                item.declared_frames = opened.declared
                written = self.pictures.write(video, clip.video_id, opened, opened.labels | given)
                item.frames = written.frames
                faces = [] if self.pictures.blur is None else [f"{written.faces} faces blurred"]
                item.message = "; ".join([*faces, *opened.remarks])
                video.finish(made_from, _facts(opened, item))
            remarks = f" ({item.message})" if item.message else ""
            log.info("%s: %d frames, %d with a position%s", clip.video_id, item.frames, written.placed, remarks)
        item.outputs = [str(self.folder.folder_of(clip.video_id))]

    def _cut(self, clip: Clip, cutting: Cutting, made_from: Fingerprint, item: Item) -> None:
        video = LongVideo(video_id=clip.video_id, made_from=made_from, folder=self.folder, labels=self.cut_labels)
        before = None if self.overwrite else video.finished()
        if before is None:
            with self._open(clip) as opened:
                cut(opened, cutting, video, self.pictures, item, self.overwrite)
            return
        changed = video.relabel(before, list(before))
        item.frames = sum(len(found.records) for found in before.values())
        item.outputs = [str(self.folder.folder_of(name)) for name in before]
        item.skip("finished before" + (f", {changed} clips now with other labels" if changed else ""))

    def _open(self, clip: Clip) -> OpenClip:
        return open_clip(
            clip, self.sampling, size=self.size, square=self.square, decoder=self.decoder, source=self.source
        )


def _settings(
    sampling: Sampling,
    cutting: Cutting | None,
    size: int | None,
    square: bool,
    quality: int,
    blur_faces: bool,
    decoder: str,
    source: TrackSource,
) -> dict[str, Any]:
    """What decides how frames come out: a folder holds frames of one kind. What is None may be missing in it."""
    chosen = sampling.describe()
    return {
        "version": 1,
        "sampling": chosen if cutting is None else f"{cutting.describe()} {chosen}",
        "size": size,
        "square": square or None,
        "resizing": None if size is None else RESIZING,
        "quality": quality,
        "faces": DETECTOR if blur_faces else None,
        "decoder": decoder,
        "time_offset_s": source.time_offset_s,
        "max_gap_s": source.max_gap_s,
    }


def _facts(opened: OpenClip, item: Item) -> dict[str, Any]:
    """Where a video's frames come from, for people; the labels are those it carries itself."""
    return {
        "source": str(opened.clip.path),
        "frames": item.frames,
        "declared_frames": opened.declared,
        "labels": opened.labels,
        "remarks": opened.remarks,
    }
