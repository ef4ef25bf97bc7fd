"""What there is to look at: videos, folders of images and folders of extracted frames, found and opened alike."""

import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from vgeo.errors import FormatError, InputError
from vgeo.records import FrameRecord
from vgeo.video.tars import SUFFIX as TAR_SUFFIX
from vgeo.video.tars import Member, Sample, members_of

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .ts .mts .m2ts .mpg .mpeg .wmv .flv .3gp .3g2 .ogv .mxf .vob "  # noqa: SIM905
    ".360 .insv .lrv .hevc .h264 .gif".split()
)
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"))
FRAMES_FILE = "frames.jsonl"
_LISTS = (".txt", ".lst")
_LONGEST_NAME = 255  # bytes, on file systems

Kind = Literal["video", "images", "frames"]


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording.

    `path` is the video, the folder of images (or one image), the list that names its frames, or the tar that holds it.
    """

    video_id: str
    path: Path
    kind: Kind
    # Makes the frames of a list that is not a frames.jsonl, such as a data set's.
    frames: Callable[[], list[FrameRecord]] | None = field(default=None, compare=False, repr=False)
    # What is known of it besides what it carries: city, split, ...
    labels: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    sample: Sample | None = None  # where it lies in a tar

    @property
    def name(self) -> str:
        """What reports call it."""
        if self.sample is not None:
            return f"{self.path}:{self.sample.media[0].name if len(self.sample.media) == 1 else self.video_id}"
        return f"{self.path}:{self.video_id}" if self.kind == "frames" else str(self.path)


def find_clips(inputs: Sequence[str | os.PathLike[str]], leave_out: str | os.PathLike[str] | None = None) -> list[Clip]:
    """Find the clips in files, folders (and theirs), tars, lists (.txt, one path a line; `-` is stdin), frames.jsonl.

    A named file that does not exist becomes a clip all the same: opening it fails, and only it. Clips of a folder come
    in natural order of names (2 before 10). Ids are unique: the file's stem, with its folders' names or its suffix
    where two have the same. leave_out: a folder that is passed over inside others, because results go there.
    Raises InputError when there is nothing, or what there is may not be read.
    """
    missing = [item for item in inputs if os.fspath(item) != "-" and not os.path.lexists(item)]
    if missing and len(missing) == len(inputs):
        raise InputError(f"{missing[0]}: no such file or folder; name videos, or folders of videos or pictures")
    found: list[Clip] = []
    hidden = None if leave_out is None else os.path.realpath(leave_out)
    for item in inputs:
        try:
            found += _clips_of(os.fspath(item), hidden)
        except PermissionError as error:
            raise InputError(
                f"{error.filename or item}: cannot be read ({(error.strerror or str(error)).lower()})"
            ) from error
    unique = list({(clip.path, clip.video_id, clip.sample): clip for clip in found}.values())
    if not unique:
        names = ", ".join(str(item) for item in inputs) or "no input"
        raise InputError(f"{names}: no videos or images in it; put recordings there, or name files or folders")
    return _with_unique_ids(unique)


def natural_key(path: str | os.PathLike[str]) -> list[tuple[int, int, str]]:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", os.fspath(path))
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts if part]


def is_image(path: Path) -> bool:
    """True for the suffix of a still picture."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _clips_of(item: str, leave_out: str | None) -> Iterator[Clip]:
    path = Path(item)
    if item == "-":
        for line in sys.stdin.read().splitlines():
            if line.strip():
                yield from _clips_of(line.strip(), leave_out)
    elif path.is_dir():
        yield from _clips_of_folder(path, leave_out)
    elif path.suffix.lower() in _LISTS and path.is_file():
        yield from _clips_of_list(path, leave_out)
    elif path.suffix.lower() == ".jsonl" and path.is_file():
        yield from _clips_of_frames(path)
    elif path.suffix.lower() == TAR_SUFFIX and path.is_file():
        yield from _clips_of_tar(path)
    else:
        yield Clip(_safe_id(path.stem), path, "images" if is_image(path) else "video")


def _clips_of_folder(folder: Path, leave_out: str | None) -> Iterator[Clip]:
    """frames.jsonl where there is one; else the videos, and every folder that holds pictures and no video."""
    if (folder / FRAMES_FILE).is_file():
        yield from _clips_of_frames(folder / FRAMES_FILE)
        return
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=_warn, followlinks=True):
        real = os.path.realpath(root)
        if real in seen or real == leave_out:  # seen: a link that leads back
            folders.clear()
            continue
        seen.add(real)
        if FRAMES_FILE in files:
            folders.clear()
            yield from _clips_of_frames(Path(root) / FRAMES_FILE)
            continue
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
        paths = [Path(root) / name for name in sorted(files, key=natural_key) if not name.startswith(".")]
        videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
        for path in videos:
            yield Clip(_safe_id(path.stem), path, "video")
        for path in paths:
            if path.suffix.lower() == TAR_SUFFIX:
                yield from _clips_of_tar(path)
        if not videos and any(is_image(path) for path in paths):
            yield Clip(_safe_id(Path(real).name), Path(root), "images")


def _warn(error: OSError) -> None:
    log.warning("%s: left out, cannot be read (%s)", error.filename, (error.strerror or str(error)).lower())


def _clips_of_list(path: Path, leave_out: str | None) -> Iterator[Clip]:
    from vgeo.formats.streams import read_text

    for line in read_text(path, 2**27).splitlines():
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if "\0" in name or any(len(os.fsencode(part)) > _LONGEST_NAME for part in name.split("/")):
            raise FormatError(f"{path}: {name[:80]!r} is no name of a file")
        if name.lower().endswith(_LISTS):
            raise FormatError(f"{path}: names another list, {name[:80]}; give each list by itself")
        beside = str(path.parent / name)  # relative to where we are, as `find` prints it, else to the list
        yield from _clips_of(name if os.path.exists(name) or not os.path.exists(beside) else beside, leave_out)


def _clips_of_frames(path: Path) -> Iterator[Clip]:
    from vgeo.video.sources import frames_of

    for video_id in frames_of(path):
        yield Clip(video_id, path, "frames")


def _clips_of_tar(path: Path) -> Iterator[Clip]:
    """Each video, each picture at the top and each folder of pictures, with the files of the same key (or name)."""
    samples: dict[str, list[Member]] = {}
    for member in members_of(path):
        samples.setdefault(member.key, []).append(member)
    folders: dict[str, list[Member]] = {}
    for key, members in samples.items():
        videos = [member for member in members if member.suffix in VIDEO_SUFFIXES]
        images = [member for member in members if member.suffix in IMAGE_SUFFIXES]
        beside = tuple(member for member in members if member not in videos and member not in images)
        name = os.path.basename(key)
        for video in videos:
            own = name if len(videos) == 1 else os.path.basename(video.name).removesuffix(video.suffix)
            yield Clip(_safe_id(own), path, "video", sample=Sample((video,), beside))
        if images and not videos and "/" in key.removeprefix("./"):
            folders.setdefault(os.path.dirname(key), []).extend(images)
        elif images and not videos:
            yield Clip(_safe_id(name), path, "images", sample=Sample(tuple(images), beside))
    for folder, images in folders.items():
        images.sort(key=lambda member: natural_key(member.name))
        yield Clip(
            _safe_id(os.path.basename(folder)),
            path,
            "images",
            sample=Sample(tuple(images), tuple(samples.get(folder, ()))),
        )


def _with_unique_ids(clips: list[Clip]) -> list[Clip]:
    ids = [clip.video_id for clip in clips]
    for depth in range(1, 8):
        counts = Counter(ids)
        if max(counts.values()) == 1:
            break
        for i, clip in enumerate(clips):
            path = clip.path if clip.sample is None else clip.path.with_suffix("") / clip.sample.media[0].name
            parents = path.absolute().parts[1:-1][-depth:]
            if counts[ids[i]] > 1 and clip.kind != "frames":
                ids[i] = _safe_id("_".join([*parents, path.name if depth > 4 else path.stem]))
    taken: set[str] = set()
    unique = []
    for clip, wanted in zip(clips, ids, strict=True):
        name, n = wanted, 1
        while name in taken:
            n += 1
            name = f"{wanted}-{n}"
        taken.add(name)
        unique.append(clip if name == clip.video_id or clip.kind == "frames" else replace(clip, video_id=name))
    return unique


def _safe_id(name: str) -> str:
    """A stem that can name a folder anywhere: valid text, no separators or control characters, no leading dot."""
    text = os.fsencode(name).decode("utf-8", "replace")
    text = re.sub(r"[\x00-\x1f\x7f/\\]", "_", text).lstrip(".")
    return text or "clip"
