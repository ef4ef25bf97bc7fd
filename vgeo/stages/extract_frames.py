"""Videos to JPEGs and one JSON line a frame, with positions where there is a track."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgeo.errors import UsageError
from vgeo.formats.frame_folder import FrameFolder, VideoFrames, fingerprint
from vgeo.logs import SILENT, Progress
from vgeo.records import FrameRecord, Outcome, format_utc
from vgeo.stages.batch import Batch, Item
from vgeo.video.clips import OpenClip, TrackSource, check_opening, files_of, find_clips, open_clip
from vgeo.video.pixels import RESIZING
from vgeo.video.sampling import Sampling

log = logging.getLogger(__name__)


def extract_frames(
    inputs: Sequence[str | Path],
    out: Path,
    sampling: Sampling = Sampling(),
    *,
    size: int | None = None,
    quality: int = 92,
    decoder: str = "pyav",
    source: TrackSource = TrackSource(),
    overwrite: bool = False,
    report: Path | None = None,
    fail_fast: bool = False,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Fill `out` with <video_id>/<frame>.jpg and frames.jsonl; what was finished before is skipped.

    inputs: see `find_clips`. size: pixels of the shorter side, None as stored. quality: of JPEG, 1 to 100.
    Raises InputError when there is nothing to do, SettingError when `out` was made with other settings, OutputError,
    BusyError, DiskError. What one clip raises becomes its outcome.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"--quality {quality}: must be from 1 to 100")
    if size is not None and size < 1:
        raise UsageError(f"--size {size}: must be at least 1")
    check_opening(decoder, source)
    settings = _settings(sampling, size, quality, decoder, source)
    clips = find_clips(inputs, leave_out=out)
    progress.start("extract-frames", len(clips), "clips")
    with Batch(report, fail_fast) as batch, FrameFolder(out, settings, overwrite) as folder:
        for clip in clips:
            with batch.item(clip.name) as item:
                made_from = fingerprint(files_of(clip, source))
                before = None if overwrite else folder.finished(clip.video_id, made_from)
                if before is not None:
                    item.frames, item.outputs = before, [str(folder.folder_of(clip.video_id))]
                    item.skip("finished before")
                else:
                    with (
                        open_clip(clip, sampling, size=size, decoder=decoder, source=source) as opened,
                        folder.video(clip.video_id) as video,
                    ):
                        _extract(opened, video, quality, item)
                        video.finish(made_from, _facts(opened, item))
                    item.outputs = [str(folder.folder_of(clip.video_id))]
            progress.advance(1, clip.video_id)
        skipped = sum(outcome.status == "skipped" for outcome in batch.outcomes)
    if skipped:
        log.info("%d of %d clips were finished before", skipped, len(clips))
    return batch.outcomes


def _extract(opened: OpenClip, video: VideoFrames, quality: int, item: Item) -> None:
    """Write the frames of a clip, and say what came of it."""
    placed = 0
    item.declared_frames = opened.declared
    for frame in opened:
        lat_deg, lon_deg = (None, None) if frame.latlon_deg is None else (float(x) for x in frame.latlon_deg)
        placed += lat_deg is not None
        video.add(
            frame.image,
            FrameRecord(
                video_id=opened.clip.video_id,
                frame_index=frame.index,
                time_s=frame.time_s,
                path="",
                timestamp_utc=None if frame.timestamp_utc is None else format_utc(frame.timestamp_utc),
                lat_deg=lat_deg,
                lon_deg=lon_deg,
                labels=opened.labels,
            ),
            quality,
        )
        item.frames += 1
    item.message = "; ".join(opened.remarks)
    remarks = f" ({item.message})" if item.message else ""
    log.info("%s: %d frames, %d with a position%s", opened.clip.video_id, item.frames, placed, remarks)


def _settings(sampling: Sampling, size: int | None, quality: int, decoder: str, source: TrackSource) -> dict[str, Any]:
    """What decides how frames come out: a folder holds frames of one kind."""
    return {
        "version": 1,
        "sampling": sampling.describe(),
        "size": size,
        "resizing": None if size is None else RESIZING,
        "quality": quality,
        "decoder": decoder,
        "time_offset_s": source.time_offset_s,
        "max_gap_s": source.max_gap_s,
    }


def _facts(opened: OpenClip, item: Item) -> dict[str, Any]:
    """Where a video's frames come from, for people."""
    return {
        "source": str(opened.clip.path),
        "frames": item.frames,
        "declared_frames": opened.declared,
        "remarks": opened.remarks,
    }
