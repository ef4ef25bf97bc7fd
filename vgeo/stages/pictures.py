"""Frames of an opened clip as pictures of a folder, with what is known of each; faces blurred where that is asked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vgeo.formats.frame_folder import VideoFrames
from vgeo.records import FrameRecord, format_utc
from vgeo.video.clips import Frame
from vgeo.video.faces import FaceBlur


@dataclass(slots=True)
class Written:
    """How many frames of a clip were written, have a position, and how many faces were blurred in them."""

    frames: int = 0
    placed: int = 0
    faces: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """How pictures are made. quality: of JPEG, 1 to 100. blur: None leaves faces as they are."""

    quality: int
    blur: FaceBlur | None = None

    def write(
        self,
        video: VideoFrames,
        video_id: str,
        frames: Iterable[Frame],
        labels: Mapping[str, str],
        first_index: int = 0,
        start_s: float = 0.0,
    ) -> Written:
        """Write frames. `first_index` and `start_s` are the number and time, in the recording, of the clip's start."""
        written = Written()
        for frame in frames:
            image = frame.image
            if self.blur is not None:
                image, faces = self.blur(image)
                written.faces += faces
            lat_deg, lon_deg = (None, None) if frame.latlon_deg is None else (float(x) for x in frame.latlon_deg)
            video.add(
                image,
                FrameRecord(
                    video_id=video_id,
                    frame_index=frame.index - first_index,
                    time_s=frame.time_s - start_s,
                    path="",
                    timestamp_utc=None if frame.timestamp_utc is None else format_utc(frame.timestamp_utc),
                    lat_deg=lat_deg,
                    lon_deg=lon_deg,
                    labels=dict(labels),
                ),
                self.quality,
            )
            written.frames += 1
            written.placed += lat_deg is not None
        return written
