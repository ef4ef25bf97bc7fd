"""The sampling rules against a slow, literal reading of VidTAG's appendix H, and what they refuse."""

import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import worlds

from vgeo.errors import FormatError, InputError, OutputError, UsageError
from vgeo.formats.clip_list import read_clip_list
from vgeo.formats.features import FeatureFile
from vgeo.stages.sample_clips import Rules, sample_clips

CITIES = {"Berlin": 3, "Rome": 12, "san francisco": 7, "København": 5, "Oslo": 10, "Lima": 4}
SAME = {"san francisco": "San Francisco", "København": "Copenhagen"}  # what the first file calls them


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of the shape of MSLS, CityGuessr68k and GAMa: other lengths, labels and numbers of clips in each."""
    monkeypatch.chdir(tmp_path)
    msls = [("San Francisco", "train")] * 6 + [("San Francisco", "val")] * 2 + [("Copenhagen", "val")] * 2
    worlds.write_features(
        tmp_path / "msls.h5",
        {f"m{i}": 16 + i for i in range(10)},
        labels=[{"city": city, "split": split} for city, split in msls],
    )
    names = [city for city, n in CITIES.items() for _ in range(n)]
    order = np.random.default_rng(0).permutation(len(names))
    worlds.write_features(
        tmp_path / "cityguessr.h5",
        {f"c{i}": 3 for i in range(len(names))},
        labels=[
            {"city": names[k], "country": "x", "split": "val" if i % 7 == 0 else "train"} for i, k in enumerate(order)
        ],
        unknown=1.1,  # no positions: they are put into their cities in training
        seed=1,
    )
    worlds.write_features(tmp_path / "gama.h5", {f"g{i}": 2 for i in range(40)}, seed=2)
    return ["msls.h5", "cityguessr.h5", "gama.h5"]


UNIFIED = Rules(
    without_cities_of={"cityguessr.h5": "msls.h5"}, per_city={"cityguessr.h5": 4}, sample={"gama.h5": "msls.h5"}, seed=3
)


def literal(file: FeatureFile) -> set[str]:
    """Appendix H, 2: for every city that MSLS has not, all of its training clips or `4` of them."""
    expected = set()
    for city in CITIES:
        if SAME.get(city, city) in ("San Francisco", "Copenhagen"):
            continue
        clips = []
        for video, name, side in zip(file.video_ids, file.labels["city"], file.labels["split"], strict=True):
            if name == city and side == "train":
                clips.append(video)
        if len(clips) < 4:
            expected.update(clips)
        else:
            order = np.random.default_rng([3, zlib.crc32(city.lower().encode())]).permutation(len(clips))
            for place in order.tolist()[:4]:
                expected.add(clips[place])
    return expected


def test_the_unified_model(files: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vgeo")
    listed = sample_clips(files, "clips.csv", UNIFIED)
    by_file = {name: [clip for clip in listed if clip.file == Path(name)] for name in files}
    assert [clip.video_id for clip in by_file["msls.h5"]] == [f"m{i}" for i in range(6)]
    assert {clip.video_id for clip in by_file["cityguessr.h5"]} == literal(FeatureFile.open("cityguessr.h5"))
    counts = Counter(clip.city for clip in by_file["cityguessr.h5"])
    assert set(counts) == {"Berlin", "Rome", "Oslo", "Lima"} and max(counts.values()) == 4 and counts["Rome"] == 4
    assert len(by_file["gama.h5"]) == 6
    assert all(clip.split == "train" for clip in listed)
    written = read_clip_list("clips.csv")
    assert [(clip.video_id, clip.city) for clip in written] == [(clip.video_id, clip.city) for clip in listed]
    assert {clip.file for clip in written} == {Path(name).resolve() for name in files}
    assert "left out are the cities that msls.h5 has: København, san francisco" in caplog.text
    assert "gama.h5: 6 of 40 training clips" in caplog.text
    assert f"{len(listed)} clips in all" in caplog.text


def test_draws_are_by_seed_alone(files: list[str]) -> None:
    def drawn(seed: int, names: list[str], sample: int = 12) -> set[str]:
        rules = Rules(per_city={"cityguessr.h5": 3}, sample={"gama.h5": sample}, seed=seed)
        return {clip.video_id for clip in sample_clips(names, "c.csv", rules, overwrite=True)}

    assert drawn(0, files) == drawn(0, files[::-1])
    assert len({frozenset(drawn(seed, files)) for seed in range(4)}) == 4
    assert drawn(0, files, 6) < drawn(0, files, 20), "a larger sample holds the smaller one"


def test_without_rules_all_training_clips_are_listed(files: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert len(sample_clips(files[:1], "a.csv")) == 6
    assert len(sample_clips(["gama.h5"], "b.csv", Rules(sample={"gama.h5": 400}))) == 40
    assert "only 40 clips for a sample of 400" in caplog.text


@pytest.mark.parametrize(
    ("rules", "error", "said"),
    [
        (Rules(per_city={"x.h5": 3}), UsageError, "--per-city x.h5: not among the feature files"),
        (Rules(without_cities_of={"gama.h5": "x.h5"}), UsageError, "x.h5 is not another of the feature files"),
        (Rules(sample={"gama.h5": "gama.h5"}), UsageError, "is not another"),
        (Rules(sample={"gama.h5": "msls.h5", "msls.h5": "gama.h5"}), UsageError, "give a number"),
        (Rules(per_city={"gama.h5": 3}), FormatError, "gama.h5: its clips have no label city"),
        (Rules(without_cities_of={"msls.h5": "gama.h5"}), FormatError, "no label city"),
    ],
)
def test_rules_that_cannot_be_followed(files: list[str], rules: Rules, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        sample_clips(files, "clips.csv", rules)
    assert not Path("clips.csv").exists()


def test_nothing_to_choose_and_nothing_to_overwrite(files: list[str], tmp_path: Path) -> None:
    worlds.write_features(tmp_path / "val.h5", 3, labels=[{"split": "val"}] * 3)
    with pytest.raises(InputError, match="no clip is left"):
        sample_clips(["val.h5"], "clips.csv")
    sample_clips(files, "clips.csv")
    with pytest.raises(OutputError, match="--overwrite"):
        sample_clips(files, "clips.csv")
    with pytest.raises(UsageError, match="given twice"):
        sample_clips(["msls.h5", "./msls.h5"], "d.csv")
    with pytest.raises(InputError, match="no such file"):
        sample_clips(["none.h5"], "d.csv")
