"""Long videos cut into clips, each with a folder of its own, as CityGuessr68k was made (CityGuessr, section 3).

N frames of the video, K clips.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any

import numpy as np

from vgeo.errors import FormatError
from vgeo.formats.frame_folder import Fingerprint, FinishedVideo, FrameFolder
from vgeo.stages.batch import Item
from vgeo.stages.cut_labels import CutLabels
from vgeo.stages.pictures import Pictures
from vgeo.video.clips import OpenClip
from vgeo.video.cutting import Cutting

log = logging.getLogger(__name__)

SOURCE = "source"  # the label that names the long video of a clip: a split by it keeps a video's clips together


@dataclass(frozen=True, slots=True, kw_only=True)
class LongVideo:
    """One long video and where its clips go. labels: None, or a table that names videos or clips."""

    video_id: str
    made_from: Fingerprint
    folder: FrameFolder
    labels: CutLabels | None

    def clip_ids(self, clips: int) -> list[str]:
        """tokyo_000, tokyo_001, ... in order of time."""
        return [f"{self.video_id}_{number:03d}" for number in range(clips)]

    def finished(self) -> dict[str, FinishedVideo] | None:
        """All its clips, where all were finished before; None else. Nothing is opened to know that."""
        first = self.folder.finished(self.clip_ids(1)[0], self.made_from)
        clips = None if first is None else first.facts.get("clips")
        if not isinstance(clips, int):
            return None
        found = self.among_finished(self.clip_ids(clips))
        return found if len(found) == clips else None

    def among_finished(self, clip_ids: Sequence[str]) -> dict[str, FinishedVideo]:
        """Those of its clips that were finished before."""
        found = {name: self.folder.finished(name, self.made_from) for name in clip_ids}
        return {name: video for name, video in found.items() if video is not None and _whole(video, len(clip_ids))}

    def given(self, clip_ids: Sequence[str]) -> list[dict[str, str]]:
        """What the table says of each clip, and that it is of this video."""
        said = [{} for _ in clip_ids] if self.labels is None else self.labels.of_clips(self.video_id, clip_ids)
        return [{**labels, SOURCE: self.video_id} for labels in said]

    def relabel(self, found: Mapping[str, FinishedVideo], clip_ids: Sequence[str]) -> int:
        """Give finished clips the labels of the table; return how many had others."""
        given = dict(zip(clip_ids, self.given(clip_ids), strict=True))
        return sum(
            self.folder.relabel(name, video, carried_labels(video) | given[name]) for name, video in found.items()
        )


def carried_labels(video: FinishedVideo) -> dict[str, str]:
    """The labels that a finished video has of itself, without those that a table gave."""
    carried = video.facts.get("labels")
    return dict(carried if isinstance(carried, dict) else video.records[0].labels)


def cut(opened: OpenClip, cutting: Cutting, video: LongVideo, pictures: Pictures, item: Item, overwrite: bool) -> None:
    """Write the clips of a video that are not there yet, decoding it once, and say what came of it.

    opened: with all its frames wanted. Raises InputError for a video too short for a clip, FormatError where no frame
    of some clip can be decoded: the others are kept.
    """
    edges = cutting.edges(len(opened.time_s), opened.clip.name)
    left_out = len(opened.time_s) - int(edges[-1])
    clip_ids = video.clip_ids(len(edges) - 1)
    found = {} if overwrite else video.among_finished(clip_ids)
    video.relabel(found, clip_ids)
    _remove_later(video, len(clip_ids))
    item.declared_frames = opened.declared
    item.frames = sum(len(before.records) for before in found.values())
    item.outputs = [str(video.folder.folder_of(name)) for name in clip_ids]
    todo = [number for number, name in enumerate(clip_ids) if name not in found]
    facts = {
        "source": str(opened.clip.path),
        "clips": len(clip_ids),
        "labels": opened.labels,
        "declared_frames": opened.declared,
    }
    faces = _write(opened, cutting, edges.tolist(), todo, video, pictures, item, facts)
    lengths = sorted({int(length) for length in np.diff(edges)})
    item.message = "; ".join(
        [
            f"{len(clip_ids)} clip{'s' * (len(clip_ids) != 1)} of {' to '.join(map(str, lengths))} frames",
            *([f"{len(found)} of them were finished before"] if found else []),
            *([f"the last {left_out} frames are too few for a clip"] if left_out else []),
            *([_faces(faces)] if pictures.blur is not None else []),
            *opened.remarks,
        ]
    )
    log.info("%s: %d frames (%s)", video.video_id, item.frames, item.message)


def _write(
    opened: OpenClip,
    cutting: Cutting,
    edges: Sequence[int],
    todo: Sequence[int],
    video: LongVideo,
    pictures: Pictures,
    item: Item,
    facts: Mapping[str, Any],
) -> dict[str, int]:
    """Decode and write clips `todo`; return the faces blurred in each."""
    clip_ids = video.clip_ids(len(edges) - 1)
    given = video.given(clip_ids)
    start_s = opened.time_s[np.array(edges[:-1])]
    first_index = opened.frame_index[np.array(edges[:-1])]
    places = [edges[number] + cutting.taken(edges[number + 1] - edges[number]) for number in todo]
    opened.only(np.concatenate(places))
    faces: dict[str, int] = {}
    in_order = groupby(opened.numbered(), key=lambda pair: todo[pair[0] // cutting.frames_per_clip])
    for number, frames in in_order:
        name = clip_ids[number]
        with video.folder.video(name) as clip:
            written = pictures.write(
                clip,
                name,
                (frame for _, frame in frames),
                opened.labels | given[number],
                int(first_index[number]),
                float(start_s[number]),
            )
            here = {
                "frames": written.frames,
                "first_frame": int(first_index[number]),
                "of_frames": edges[number + 1] - edges[number],
                "start_s": round(float(start_s[number]), 6),
                "faces_blurred": None if pictures.blur is None else written.faces,
            }
            clip.finish(video.made_from, {**facts, **here})
        item.frames += written.frames
        faces[name] = written.faces
        log.debug("%s: %d frames, %d with a position", name, written.frames, written.placed)
    lost = [clip_ids[number] for number in todo if clip_ids[number] not in faces]
    if lost:
        raise FormatError(
            f"{opened.clip.name}: no frame of {', '.join(lost)} can be decoded; the video's other clips are kept"
        )
    return faces


def _whole(video: FinishedVideo, clips: int) -> bool:
    """Whether a finished clip is one of as many as are wanted: else the video is cut elsewhere now."""
    return video.facts.get("clips") == clips


def _remove_later(video: LongVideo, clips: int) -> None:
    """Remove clips beyond the last, which the video had when it was longer."""
    for number in count(clips):
        name = f"{video.video_id}_{number:03d}"
        if not video.folder.folder_of(name).exists():
            return
        video.folder.remove(name)


def _faces(faces: Mapping[str, int]) -> str:
    some = ", ".join(f"{number} in {name}" for name, number in faces.items() if number)
    return f"faces blurred: {some or 'none'}"
