"""Feature files and folders of frames joined into one; see `merge`."""

import filecmp
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vgeo.errors import FormatError, OutputError, SettingError, UsageError
from vgeo.formats import safe_h5
from vgeo.formats._feature_layout import OldVideo, layout
from vgeo.formats.features import INPUTS, PLACE, FeatureFile, describe_difference
from vgeo.formats.frame_folder import CLIP_FILE, FRAMES_FILE, SETTINGS_FILE, FrameFolder, differences
from vgeo.formats.shards import COLUMN, Shard, check_shards
from vgeo.formats.streams import parse_json, read_text
from vgeo.logs import Progress
from vgeo.stages.merged import Merged
from vgeo.video.finding import natural_key


def merge_features(inputs: Sequence[str], out: Path, incomplete: bool, progress: Progress) -> Merged:
    files = {path: FeatureFile.open(path) for path in inputs}
    first = inputs[0]
    for path, file in files.items():
        difference = describe_difference(_undivided(files[first]), _undivided(file))
        if difference:
            raise SettingError(f"{path}: was made otherwise than {first}: {difference.replace(', now', ', here')}")
    shards = {path: _shard(file.attributes.get(COLUMN), file.path) for path, file in files.items()}
    if check_shards(shards, incomplete, {path: _count(file) for path, file in files.items() if shards[path]}):
        order = sorted((place, path, v) for path, file in files.items() for v, place in enumerate(_places(file)))
        found = [(path, v) for _, path, v in order]
    else:
        ranked = sorted(files, key=lambda path: natural_key((files[path].video_ids or [""])[0]))
        found = [(path, v) for path in ranked for v in range(len(files[path].video_ids))]
    pieces: dict[str, OldVideo] = {}
    where: dict[str, str] = {}
    for path, v in found:
        piece = OldVideo(files[path], v)
        name = piece.part.video_id
        if name in pieces and not _same_video(pieces[name], piece, files[path].encoders):
            raise FormatError(f"{name}: {where[name]} and {path} hold different features of it; leave one of them out")
        pieces.setdefault(name, piece)
        where.setdefault(name, path)
    progress.start("merge", len(pieces), "videos")
    like = files[first]
    safe_h5.write_h5(out, layout(list(pieces.values()), like.encoders), _undivided(like))
    return Merged(len(inputs), len(pieces), len(found) - len(pieces))


def _undivided(file: FeatureFile) -> dict[str, object]:
    return {name: value for name, value in file.attributes.items() if name not in (COLUMN, INPUTS)}


def _shard(text: object, path: Path) -> Shard | None:
    """The shard that a file or folder says it is. Raises FormatError."""
    try:
        return None if text is None else Shard.parse(str(text))
    except UsageError as error:
        raise FormatError(f"{path}: says that it is shard {str(text)[:30]}; make it again") from error


def _count(file: FeatureFile) -> int:
    count = file.attributes.get(INPUTS)
    if not isinstance(count, int):
        raise FormatError(f"{file.path}: does not say how many inputs its undivided run had; make it again")
    return count


def _places(file: FeatureFile) -> list[int]:
    with safe_h5.open_h5(file.path) as opened:
        places = safe_h5.read_array(opened, PLACE, 1, "iu").tolist()
    if len(places) != len(file.video_ids):
        raise FormatError(f"{file.path}: {len(places)} places for {len(file.video_ids)} videos; make it again")
    return [int(place) for place in places]


def _same_video(one: OldVideo, other: OldVideo, encoders: Iterable[str]) -> bool:
    columns = ("time_s", "frame_index", "latlon_deg", *encoders)
    return one.part == other.part and all(
        np.array_equal(one.column(name), other.column(name), equal_nan=True) for name in columns
    )


def merge_folders(folders: Sequence[Path], out: Path, overwrite: bool, incomplete: bool, progress: Progress) -> Merged:
    """Link the pictures of all folders into one, or copy them where the file system cannot."""
    settings = {folder: _settings_of(folder) for folder in folders}
    shards = {str(folder): _shard(said.pop(COLUMN, None), folder) for folder, said in settings.items()}
    like = settings[folders[0]]
    for folder, said in settings.items():
        different = differences(like, said)
        if different:
            raise SettingError(f"{folder}: was made otherwise than {folders[0]}: {different.replace('(now', '(here')}")
    check_shards(shards, incomplete)
    if (out / FRAMES_FILE).exists() and not overwrite:
        raise OutputError(f"{out / FRAMES_FILE}: exists; use --overwrite to replace it or --out for another folder")
    taken: dict[str, Path] = {}
    videos = [video for folder in folders for video in _videos(folder)]
    progress.start("merge", len(videos), "videos")
    with FrameFolder(out, like, overwrite) as target:
        for video in _videos(out) if overwrite else ():
            target.remove(video.name)
        for video in videos:
            other = taken.setdefault(video.name, video)
            if other is video:
                target.take(video)
            elif not same_folder(video, other):
                raise FormatError(f"{video} and {other} differ; leave one of them out")
            progress.advance(1, video.name)
    return Merged(len(folders), len(taken), len(videos) - len(taken))


def _settings_of(folder: Path) -> dict[str, object]:
    said = parse_json(read_text(folder / SETTINGS_FILE, 2**20), folder / SETTINGS_FILE)
    if not isinstance(said, dict):
        raise FormatError(f"{folder / SETTINGS_FILE}: not the settings of extract-frames")
    return said


def _videos(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if (entry / CLIP_FILE).is_file() and entry.name[0] != "."]


def same_folder(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files."""
    names = [sorted(entry.name for entry in folder.iterdir()) for folder in (one, other)]
    return names[0] == names[1] and not any(filecmp.cmpfiles(one, other, names[0], shallow=False)[1:])
