"""Which clips of which feature files are trained on together: the sampling rules of VidTAG's unified model."""

import logging
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.clip_list import ListedClip, write_clip_list
from vgeo.formats.features import FeatureFile
from vgeo.formats.streams import check_output
from vgeo.geo.city_names import city_key
from vgeo.training.data import SPLIT_LABEL, clips_with

log = logging.getLogger(__name__)

CITY_LABEL, TRAIN = "city", "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is left of the clips of each file; a file without a rule is taken whole. Files by their paths as given.

    VidTAG, appendix H: all of MSLS; of CityGuessr68k the cities that MSLS has not, all clips of a city of fewer than
    80 and 80 drawn from each other one; of GAMa a sample as large as either.
    """

    without_cities_of: Mapping[str, str] = field(default_factory=dict)  # file -> file whose cities it must not have
    per_city: Mapping[str, int] = field(default_factory=dict)  # file -> most clips of a city
    sample: Mapping[str, int | str] = field(default_factory=dict)  # file -> so many, or as many as are chosen of a file
    seed: int = 0


def sample_clips(
    files: Sequence[str | Path], out: str | Path, rules: Rules = Rules(), *, overwrite: bool = False
) -> list[ListedClip]:
    """Choose training clips of feature files by `rules`, write them to `out` as CSV, and say how many there are.

    Training clips are those labelled train, or all of a file that has no label "split". A clip that has neither a
    position nor a city is none: nothing could be learnt from it.
    Raises UsageError, InputError, FormatError, OutputError.
    """
    names = [str(file) for file in files]
    _check(names, rules)
    check_output(out, overwrite)
    opened = {name: FeatureFile.open(name) for name in names}
    candidates = {name: _training_clips(file) for name, file in opened.items()}
    chosen: dict[str, list[int]] = {}
    for name in sorted(
        names, key=lambda name: isinstance(rules.sample.get(name), str)
    ):  # those that follow others last
        chosen[name] = _choose(name, opened, candidates, chosen, rules)
    listed = [clip for name in names for clip in _listed(opened[name], chosen[name])]
    _tell(names, opened, candidates, chosen)
    if not listed:
        raise InputError("no clip is left by these rules; nothing was written")
    write_clip_list(out, listed)
    return listed


def _check(names: Sequence[str], rules: Rules) -> None:
    """Raise UsageError for a rule that speaks of a file which is not among the inputs, or of a circle."""
    if not names:
        raise UsageError("no feature files; name those to choose clips from")
    if len({Path(name).resolve() for name in names}) < len(names):
        raise UsageError("a feature file is given twice")
    sizes = {name: size for name, size in rules.sample.items() if isinstance(size, str)}
    for option, pairs in (("--without-cities-of", rules.without_cities_of), ("--sample", sizes)):
        for name, other in pairs.items():
            if other not in names or other == name:
                raise UsageError(f"{option} {name}={other}: {other} is not another of the feature files")
    for option, keys in (
        ("--without-cities-of", rules.without_cities_of),
        ("--per-city", rules.per_city),
        ("--sample", rules.sample),
    ):
        if unknown := [name for name in keys if name not in names]:
            raise UsageError(f"{option} {unknown[0]}: not among the feature files {', '.join(names)}")
    if circular := [name for name, other in sizes.items() if other in sizes]:
        raise UsageError(f"--sample {circular[0]}={sizes[circular[0]]}: that file follows another one; give a number")


def _training_clips(file: FeatureFile) -> list[int]:
    """Clips that may be trained on, by number."""
    blank = [""] * len(file.video_ids)
    split, city = file.labels.get(SPLIT_LABEL), file.labels.get(CITY_LABEL, blank)
    return [v for v, p in enumerate(clips_with(file)) if (p or city[v]) and (split is None or split[v] == TRAIN)]


def _choose(
    name: str,
    opened: Mapping[str, FeatureFile],
    candidates: Mapping[str, list[int]],
    chosen: Mapping[str, list[int]],
    rules: Rules,
) -> list[int]:
    """Clips of a file that its rules leave, rising. The rules apply in this order: cities, clips a city, sample."""
    clips = candidates[name]
    if other := rules.without_cities_of.get(name):
        # All cities of the other file count, also those that it only holds out.
        taken = {city_key(city) for city in _cities(opened[other]) if city}
        gone = sorted({city for clip in clips if city_key(city := _cities(opened[name])[clip]) in taken})
        clips = [clip for clip in clips if city_key(_cities(opened[name])[clip]) not in taken]
        log.info("%s: left out are the cities that %s has: %s", name, other, ", ".join(gone) or "none")
    if (most := rules.per_city.get(name)) is not None:
        of_city: dict[str, list[int]] = {}
        for clip in clips:
            of_city.setdefault(city_key(_cities(opened[name])[clip]), []).append(clip)
        clips = sorted(clip for city, some in of_city.items() for clip in _draw(some, most, city, rules.seed))
    wanted = rules.sample.get(name)
    if wanted is not None:
        size = len(chosen[wanted]) if isinstance(wanted, str) else wanted
        if size > len(clips):
            log.warning("%s: only %d clips for a sample of %d; all are taken", name, len(clips), size)
        clips = _draw(clips, size, "", rules.seed)
    return clips


def _cities(file: FeatureFile) -> list[str]:
    if CITY_LABEL not in file.labels:
        raise FormatError(f"{file.path}: its clips have no label {CITY_LABEL}; this rule goes by it")
    return file.labels[CITY_LABEL]


def _draw(clips: list[int], most: int, city: str, seed: int) -> list[int]:
    """All of at most `most` clips, else so many drawn, rising; a city's draw does not depend on other cities."""
    if len(clips) <= most:
        return clips
    order = np.random.default_rng([seed, zlib.crc32(city.encode())]).permutation(len(clips))
    return sorted(clips[i] for i in order[:most])


def _listed(file: FeatureFile, clips: Sequence[int]) -> list[ListedClip]:
    blank = [""] * len(file.video_ids)
    cities, splits = file.labels.get(CITY_LABEL, blank), file.labels.get(SPLIT_LABEL, blank)
    return [
        ListedClip(video_id=file.video_ids[clip], file=file.path, split=splits[clip] or TRAIN, city=cities[clip])
        for clip in clips
    ]


def _tell(
    names: Sequence[str],
    opened: Mapping[str, FeatureFile],
    candidates: Mapping[str, list[int]],
    chosen: Mapping[str, list[int]],
) -> None:
    for name in names:
        labels = opened[name].labels.get(CITY_LABEL)
        cities = "" if labels is None else f" of {len({city_key(labels[clip]) for clip in chosen[name]})} cities"
        log.info("%s: %d of %d training clips%s", name, len(chosen[name]), len(candidates[name]), cities)
    twice = Counter(opened[name].video_ids[clip] for name in names for clip in chosen[name])
    if again := [video for video, times in twice.items() if times > 1]:
        log.warning("%d clips are chosen from two files, %s first", len(again), again[0])
    log.info("%d clips in all", sum(len(clips) for clips in chosen.values()))
