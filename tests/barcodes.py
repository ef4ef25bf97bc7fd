"""Small videos of many kinds whose frames carry their number, see `clipmaker`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from clipmaker import copy_cut, make_video

H264 = {"g": "30", "bf": "3", "preset": "veryfast"}
X264_OPEN = {"preset": "veryfast", "x264-params": "keyint=24:min-keyint=24:open-gop=1:bframes=3:scenecut=0"}
X265_OPEN = {"preset": "ultrafast", "x265-params": "keyint=24:open-gop=1:bframes=3:log-level=none"}
VP9 = {"g": "30", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"}
MPEG4 = {"g": "20", "bf": "2", "b": "800k"}
REFRESH = {"preset": "veryfast", "x264-params": "keyint=24:intra-refresh=1:bframes=0"}
VFR_MS = np.cumsum(np.random.default_rng(0).integers(10, 90, 90)).tolist()

MAKERS: dict[str, Callable[[Path], object]] = {
    "plain.mp4": lambda p: make_video(p, options=H264),
    "plain.mkv": lambda p: make_video(p, options=H264),
    "plain.ts": lambda p: make_video(p, options=H264),
    "h264.avi": lambda p: make_video(p, options=H264),
    "open_gop.mp4": lambda p: make_video(p, options=X264_OPEN),
    "open_gop.ts": lambda p: make_video(p, options=X264_OPEN),
    "gradual_refresh.mp4": lambda p: make_video(p, options=REFRESH),
    "hevc_open_gop.mp4": lambda p: make_video(p, codec="libx265", options=X265_OPEN),
    "mpeg4.avi": lambda p: make_video(p, codec="mpeg4", options=MPEG4),
    "mpeg2.ts": lambda p: make_video(p, codec="mpeg2video", rate=25, options={"g": "12", "bf": "2", "b": "2M"}),
    "vp9.webm": lambda p: make_video(p, codec="libvpx-vp9", options=VP9),
    "vfr.mp4": lambda p: make_video(p, options=H264, pts_ms=VFR_MS),
    "vfr.mkv": lambda p: make_video(p, options=H264, pts_ms=VFR_MS),
    "turned_90.mp4": lambda p: make_video(p, options=H264, rotation=-90),
    "turned_180.mp4": lambda p: make_video(p, options=H264, rotation=180),
    "cut_edit_list.mp4": lambda p: copy_cut(_source(p, "mp4"), p, 30, edit_at=45),
    "cut_between_keys.mp4": lambda p: copy_cut(_source(p, "mp4"), p, 17),
    "cut_between_keys.ts": lambda p: copy_cut(_source(p, "ts"), p, 17),
    "cut.mkv": lambda p: copy_cut(_source(p, "mkv"), p, 30),
}
CODECS = {"hevc_open_gop.mp4": "libx265", "vp9.webm": "libvpx-vp9"}


def _source(path: Path, suffix: str) -> Path:
    source = path.parent / f"source.{suffix}"
    return source if source.exists() else make_video(source, options=H264)
