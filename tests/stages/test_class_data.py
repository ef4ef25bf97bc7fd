"""What a classifier learns from: whose labels, scenes and text a clip gets, through several files."""

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training import worlds
from vgeo.device import Compute
from vgeo.errors import SettingError, UsageError
from vgeo.formats.cityguessr_list import TEXT
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery, write_gallery
from vgeo.formats.scenes import GROUPS, ClipScenes, write_scenes
from vgeo.records import LEVELS
from vgeo.stages.class_data import ClassData, read_class_data
from vgeo.stages.train import train
from vgeo.stages.train_prepare import Request
from vgeo.training.data import usable_frames
from vgeo.training.evaluate_classes import ClassValidation
from vgeo.training.loop import Options

PLACES = {
    "Bonn": ("Bonn", "Nordrhein-Westfalen", "Germany", "Europe"),
    "Lyon": ("Lyon", "Auvergne-Rhone-Alpes", "France", "Europe"),
    "Oslo": ("Oslo", "Oslo", "Norway", "Europe"),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, city_of: dict[str, str | None]) -> Path:
    """A feature file of clips of 1, 2, ... frames; None: not labelled."""
    labels = [dict(zip(LEVELS, PLACES[city], strict=True)) if city else {} for city in city_of.values()]
    worlds.write_features(Path(name), {clip: 1 + i for i, clip in enumerate(city_of)}, labels=labels)
    return Path(name)


def table(name: str, city_of: dict[str, str]) -> Path:
    rows = [",".join((clip, *PLACES[city])) for clip, city in city_of.items()]
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("\n".join(["video_id,city,state,country,continent", *rows]) + "\n")
    return Path(name)


def published(name: str, ids: dict[str, int], first: float = 0.0) -> Path:
    """Lines of a list; the text of city i is i + 1 + `first`, then zeros, the scenes are all of group i."""
    lines = []
    for clip, city in ids.items():
        text = [city + 1 + first] + [0.0] * (TEXT - 1)
        scenes = [float(group == city) for group in range(len(GROUPS))]
        lines.append(",".join([f"/far/{clip}", *[str(city)] * 4, *map(str, [*text, *scenes])]))
    Path(name).write_text("\n".join(lines) + "\n")
    return Path(name)


def read(*inputs: Path, values: dict[str, Any] | None = None, **asked: Any) -> ClassData:
    nothing: Any = SimpleNamespace(seed=0)
    plain = Request(
        name="cityguessr", cls=Any, inputs=inputs, changed={}, options=nothing, compute=nothing, folder=Path("m")
    )  # type: ignore[arg-type]
    return read_class_data(replace(plain, **asked), {} if values is None else values)


def cities(data: ClassData) -> list[str]:
    """The city of each clip of all files."""
    return [data.classes.hierarchy.names[0][one] if one >= 0 else "-" for one in data.class_VL[:, 0]]


def test_clips_of_several_files_and_of_val_have_their_own_labels_and_scenes() -> None:
    files = [write("a.h5", {"a0": "Oslo", "a1": None}), write("b.h5", {"b0": "Bonn", "b1": "Lyon"})]
    val = [write("v.h5", {"v0": None, "v1": "Lyon", "v2": "Oslo"})]
    group = {"a0": 4, "b0": 5, "b1": 6, "v1": 7, "v2": 8}
    eye = np.eye(len(GROUPS))
    write_scenes("s.csv", [ClipScenes(video_id=clip, frames=3, shares=eye[one]) for clip, one in group.items()])
    data = read(*files, val=val, scenes=Path("s.csv"))
    assert cities(data) == ["Oslo", "-", "Bonn", "Lyon", "-", "Lyon", "Oslo"]
    for some, expected in ((data.files, ["a0", "b0", "b1"]), (data.val_files, ["v1", "v2"])):
        frames = usable_frames(some, data.usable)
        assert list(frames.video_ids) == expected
        truth = data.truth(frames, some)
        names = [data.classes.hierarchy.names[0][one] for one in truth.class_VL[:, 0]]
        said = {"a0": "Oslo", "b0": "Bonn", "b1": "Lyon", "v1": "Lyon", "v2": "Oslo"}
        assert names == [said[clip] for clip in expected]
        assert truth.scene_VP is not None
        assert truth.scene_VP.argmax(1).tolist() == [group[clip] for clip in expected]
    assert len(usable_frames(data.files, data.usable)) == 1 + 1 + 2
    assert len(usable_frames(data.val_files, data.usable)) == 2 + 3


def test_a_clips_own_labels_stand_unless_a_table_is_named() -> None:
    default = table("clips/clips.csv", {"a0": "Lyon", "a1": "Lyon"})
    assert cities(read(write("a.h5", {"a0": "Oslo", "a1": None}))) == ["Oslo", "-"]
    assert cities(read(write("b.h5", {"a0": None, "a1": None}))) == ["Lyon", "Lyon"]
    assert cities(read(Path("a.h5"), labels=default)) == ["Lyon", "Lyon"]


def test_labels_of_frames_stand_as_those_of_features_do() -> None:
    table("clips/clips.csv", {"f0": "Lyon"})
    Path("frames").mkdir()
    line = {"video_id": "f0", "frame_index": 0, "time_s": 0, "path": "f0/0.jpg"}
    for labels, city in (({"city": "Oslo", "country": "Norway"}, "Oslo"), ({}, "Lyon")):
        Path("frames/frames.jsonl").write_text(json.dumps({**line, "labels": labels}) + "\n")
        data = read(Path("frames"))
        assert cities(data) == [city] and not data.of_features


def test_the_text_of_the_gallery_is_the_citys_or_all_levels() -> None:
    names = {level: np.array([place[i] for place in PLACES.values()], object) for i, level in enumerate(LEVELS)}
    text = {level: np.tile(np.eye(4, dtype=np.float32)[i], (3, 1)) for i, level in enumerate(LEVELS)}
    gallery = Gallery(
        latlon_deg=np.array([[50.7, 7.1], [45.8, 4.8], [59.9, 10.7]]),
        labels=names,
        text=text,
        text_encoder=worlds.spec(dim=4),
    )
    write_gallery("c.h5", gallery)
    file = write("a.h5", {"a0": "Oslo"})
    for values, expected in (({}, [0.25] * 4), ({"text": "city"}, [1, 0, 0, 0]), ({"text": "none"}, None)):
        found = read(file, gallery=Path("c.h5"), values=dict(values)).text_GX
        assert found is None if expected is None else found is not None and found.tolist() == [expected]


def test_a_table_on_stdin_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said = table("t.csv", {"a0": "Lyon", "a1": "Bonn"}).read_bytes()
    stdin = SimpleNamespace(buffer=io.BytesIO(said))
    monkeypatch.setattr("sys.stdin", stdin)
    file = write("a.h5", {"a0": None, "a1": None})
    assert cities(read(file, labels=Path("-"))) == ["Lyon", "Bonn"]
    with pytest.raises(UsageError, match="--labels -: stdin is read once"):
        read(file, val=[file], labels=Path("-"))


def test_the_text_of_a_list_goes_to_the_classes_by_their_clips() -> None:
    """Ids of a list are not those of the classes: Oslo is 0 there."""
    file = write("a.h5", {"a0": "Oslo", "a1": "Bonn", "a2": None, "a3": "Oslo"})
    values: dict[str, Any] = {}
    data = read(file, values=values, text=published("l.txt", {"a0": 0, "a1": 5, "a2": 9}))
    assert data.text_GX is not None and values["text_dim"] == TEXT
    assert dict(zip(data.classes.hierarchy.names[0], data.text_GX[:, 0], strict=True)) == {"Bonn": 6.0, "Oslo": 1.0}
    assert data.scene_VP is None and values["scenes"] == "none"


def test_scenes_of_a_list_are_known_by_the_first_line() -> None:
    file = write("a.h5", {"a0": "Oslo", "a1": "Bonn"})
    data = read(file, scenes=published("l.txt", {"a1": 3, "a0": 2}))
    assert data.scene_VP is not None and data.scene_VP.argmax(1).tolist() == [2, 3]


def test_feature_files_keep_their_features() -> None:
    data = read(write("a.h5", {"a0": "Oslo"}))
    assert data.of_features and isinstance(data.files[0], FeatureFile)


def test_a_run_goes_on_with_its_own_labels_scenes_and_text_alone() -> None:
    file = write("a.h5", {f"a{i}": None for i in range(4)})
    ids = {"a0": 0, "a1": 1, "a2": 0, "a3": 1}
    cities_of_clips = {clip: ("Oslo", "Bonn")[one] for clip, one in ids.items()}
    plain = {
        "labels": table("t.csv", cities_of_clips), "gallery": table_of_cities("c.csv", "Oslo"),
        "scenes": published("s.txt", ids), "text": published("x.txt", ids),
    }  # fmt: skip

    def go(epochs: int, **more: Path) -> None:
        train(
            [file], "cityguessr", Path("m"), val_fraction=0, options=Options(epochs=epochs), resume=epochs > 1,
            compute=Compute(torch.device("cpu"), torch.float32), **{**plain, **more},  # type: ignore[arg-type]
        )  # fmt: skip

    go(1)
    swapped = {"a0": "Bonn", "a1": "Oslo", "a2": "Oslo", "a3": "Bonn"}
    for name, other in (
        ("labels", table("t2.csv", swapped)),
        ("gallery", table_of_cities("c2.csv", "Viken")),
        ("scenes", published("s2.txt", {clip: 1 - one for clip, one in ids.items()})),
        ("text", published("x2.txt", ids, first=1.0)),
    ):
        with pytest.raises(SettingError, match="m: cannot be resumed"):
            go(2, **{name: other})
    go(2)


def table_of_cities(name: str, state_of_oslo: str) -> Path:
    """Where Oslo and Bonn lie."""
    Path(name).write_text(
        f"lat,lon,city,state,country\n59.9,10.7,Oslo,{state_of_oslo},Norway\n50.7,7.1,Bonn,NRW,Germany\n"
    )
    return Path(name)


def test_heads_stay_where_the_places_are_the_same() -> None:
    file = write("a.h5", {"a0": "Oslo", "a1": "Bonn"})

    def heads(out: str, start: str | None, **more: Any) -> torch.Tensor:
        train(
            [file], "cityguessr", Path(out), start=start and Path(start), val_fraction=0,  # type: ignore[arg-type]
            settings=["learning_rate=1e-12"], options=Options(epochs=1, seed=3 if start else 0),
            compute=Compute(torch.device("cpu"), torch.float32), **more,
        )  # fmt: skip
        return load_file(f"{out}/model.safetensors")["heads.0.weight"]

    first = heads("m", None)
    torch.testing.assert_close(heads("n", "m"), first, rtol=0, atol=1e-9)
    moved = heads("o", "m", labels=table("t.csv", {"a0": "Oslo", "a1": "Lyon"}))
    assert moved.shape == first.shape and (moved - first).abs().max() > 1e-3, "other cities, other heads"


def test_held_out_files_are_measured_by_their_own_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def measure(method: Any, store: Any, class_NL: Any, *_: Any) -> ClassValidation:
        seen.append(class_NL[:, 0].tolist())
        return ClassValidation({"city": 0.5}, {"city": 1.0}, 1.0, len(class_NL))

    monkeypatch.setattr("vgeo.stages.train_classes.validate_classes", measure)
    files = [write("a.h5", {"a0": "Oslo", "a1": "Bonn", "a2": "Lyon"}), write("v.h5", {"v0": "Lyon", "v1": "Oslo"})]
    train(
        files[:1], "cityguessr", Path("m"), val=files[1:], options=Options(epochs=1),
        compute=Compute(torch.device("cpu"), torch.float32),
    )  # fmt: skip
    assert seen == [[1, 2]], "Bonn, Lyon, Oslo"
