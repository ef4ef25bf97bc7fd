"""MSLS: counts by hand on a small tree, and a slow, literal reading of a messy one."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from mslsmaker import EPOCH_MS, Shot, drive, make_tree, write_subset

from vgeo import datasets
from vgeo.datasets._msls_cities import CITIES
from vgeo.datasets.base import Part, Recipe
from vgeo.datasets.msls import Msls
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.geo.places import find_places
from vgeo.geo.sphere import distance_km


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("msls"))


def read(root: Path, **recipe: object) -> dict[str, Part]:
    layout = Msls(root, Recipe(**recipe))  # type: ignore[arg-type]
    return {name: layout.read(name) for name in layout.parts()}


def sides(part: Part) -> Counter[str]:
    return Counter(labels["split"] for labels in part.sequences.labels)


def test_it_is_found_by_its_name() -> None:
    assert datasets.names() == ["cityguessr68k", "gama", "msls"]
    assert datasets.get("msls") is Msls
    with pytest.raises(UsageError, match="no layout 'nowhere'; there are cityguessr68k, gama, msls"):
        datasets.get("nowhere")


def test_counts_by_hand(tree: Path) -> None:
    parts = read(tree)
    assert list(parts) == ["cph", "london"]
    london, cph = parts["london"], parts["cph"]
    assert (london.rows, len(london.sequences), len(london.sequences.time_s)) == (203, 10, 166)
    assert london.left_out == {
        "panoramas": 2, "without a picture on disk": 5, "sequences of fewer than 16 frames": 2
    }  # fmt: skip
    assert sides(london) == {"train": 8, "val": 2}
    assert (cph.rows, len(cph.sequences), len(cph.sequences.time_s)) == (100, 5, 100)
    assert sides(cph) == {"train": 4, "val": 1}
    lines = Msls(tree, Recipe()).summary(list(parts.values()))
    assert "303 pictures listed for 2 cities" in lines[0] and "2 sequences of fewer than 16 frames" in lines[0]
    assert "15 sequences = 12 train + 3 val, 266 frames (16 to 32 a sequence), 266 with a position" in lines[1]
    assert "14,965" in lines[2] and "11,320 = 9,049 train + 2,271 val" in lines[2]


def test_shorter_sequences_gaps_and_test_cities(tree: Path) -> None:
    shorter = read(tree, min_frames=15)["london"]
    assert (len(shorter.sequences), len(shorter.sequences.time_s)) == (12, 196)
    cut = read(tree, split_gaps=True)["cph"].sequences
    assert len(cut) == 6
    pieces = [name for name in cut.video_ids if "k0" in name]
    assert pieces == ["cph_query_k0.1", "cph_query_k0.2"]
    for seed in range(8):  # the pieces of a sequence are on one side
        again = read(tree, split_gaps=True, seed=seed)["cph"].sequences
        assert (
            len({labels["split"] for name, labels in zip(again.video_ids, again.labels, strict=True) if "k0" in name})
            == 1
        )
    everything = read(tree, with_test=True)
    assert list(everything) == ["cph", "london", "miami"]
    miami = everything["miami"].sequences
    assert len(miami) == 2 and np.isnan(miami.latlon_deg).all() and sides(everything["miami"]) == {"train": 1, "val": 1}
    assert list(read(tree, cities=("Copenhagen",))) == ["cph"]
    assert list(read(tree, cities=("MIAMI", "London"))) == ["london", "miami"]


def test_frames_are_as_the_lists_say(tree: Path) -> None:
    sequences = read(tree)["london"].sequences
    s = sequences.video_ids.index("london_query_q2")
    frames = sequences.frames(s)
    assert [frame.frame_index for frame in frames] == list(range(2, 20))
    assert [frame.path for frame in frames] == [f"images/q2-{i}.jpg" for i in range(2, 20)]
    assert [frame.time_s for frame in frames] == list(range(18))
    assert frames[3].timestamp_utc == "2017-07-14T02:40:05.000Z"
    assert frames[0].lat_deg == pytest.approx(51.6101) and frames[0].lon_deg == -0.2
    assert frames[0].labels["city"] == "London" and frames[0].labels["country"] == "United Kingdom"
    clip = sequences.clips()[s]
    assert clip.path == tree / "train_val/london/query/seq_info.csv" and clip.frames is not None
    assert clip.frames() == frames
    assert all((clip.path.parent / frame.path).is_file() for frame in frames)


def test_the_draw_is_by_seed_and_city(tree: Path) -> None:
    def held(**recipe: object) -> list[set[str]]:
        parts = read(tree, **recipe).values()
        return [
            {v for v, labels in zip(p.sequences.video_ids, p.sequences.labels, strict=True) if labels["split"] == "val"}
            for p in parts
        ]

    assert held() == held(seed=0)
    assert held(cities=("london",))[0] == held()[1]
    assert len({frozenset(held(seed=seed)[1]) for seed in range(6)}) > 1


def test_thirty_cities_as_table_1_counts_them() -> None:
    columns = list(zip(*CITIES.values(), strict=True))
    state_of = {(state, country) for _, state, country, _ in CITIES.values()}
    assert (len(set(columns[0])), len(state_of), len(set(columns[2])), len(set(columns[3]))) == (30, 29, 24, 6)
    centres = {"cph": (55.676, 12.568), "sf": (37.775, -122.419), "saopaulo": (-23.547, -46.636), "goa": (15.49, 73.83)}
    for folder, position in centres.items():  # the names are those that places are labelled with
        place = find_places(position)[0]
        assert (place.state, place.country, place.continent) == CITIES[folder][1:]


def messy(root: Path) -> Path:
    """Duplicates, rows without a partner, panoramas, missing pictures, shuffled rows, one key in both subsets."""
    rng = np.random.default_rng(5)
    for subset in ("query", "database"):
        drives: dict[str, list[Shot]] = {}
        for i in range(12):
            numbers = np.sort(rng.choice(60, int(rng.integers(8, 60)), replace=False)).tolist()
            frames = [
                Shot(
                    f"{subset[0]}{i}_{n}", n, 10 + i / 50, 20 + n * 1e-4, EPOCH_MS + (-n if i % 2 else n), pano, on_disk
                )
                for n in numbers
                for pano, on_disk in [(rng.random() < 0.05, rng.random() > 0.05)]
            ]
            drives[f"{subset}{i}"] = frames
        drives["both"] = [Shot(f"both{n}", n, 11, 21, EPOCH_MS + n) for n in range(9)]
        folder = root / "train_val/atlantis" / subset
        write_subset(folder, drives)
        for name in ("seq_info.csv", "raw.csv"):
            header, *lines = (folder / name).read_text().splitlines()
            lines = [line for line in lines if rng.random() > 0.03]
            lines += [str(line) for line in rng.choice(lines, 15)]
            order = rng.permutation(len(lines))
            damaged = ["7,too,few"] if name == "seq_info.csv" else ["8,x,nan,inf,0,zero,False", "9,y,500,95,0,1,True"]
            (folder / name).write_text("\n".join([header, *(lines[i] for i in order), *damaged]) + "\n")
    return root


def literally(root: Path, split_gaps: bool) -> dict[str, list[str]]:
    """The recipe, row by row: sequence id -> keys."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for subset in ("query", "database"):
        folder = root / "train_val/atlantis" / subset
        with (folder / "raw.csv").open() as file:
            raw: dict[str, dict[str, str]] = {}
            for row in csv.DictReader(file):
                raw.setdefault(row["key"], row)
        groups: dict[str, list[tuple[int, str]]] = defaultdict(list)
        with (folder / "seq_info.csv").open() as file:
            for row in csv.DictReader(file):
                key = row["key"]
                if row["frame_number"] is None or key in seen or key not in raw or raw[key]["pano"] == "True":
                    continue
                if (folder / "images" / f"{key}.jpg").exists():
                    seen.add(key)
                    groups[row["sequence_key"]].append((int(row["frame_number"]), key))
        for name, frames in groups.items():
            pieces: list[list[tuple[int, str]]] = []
            for frame in sorted(frames):
                if not pieces or (split_gaps and frame[0] > pieces[-1][-1][0] + 1):
                    pieces.append([])
                pieces[-1].append(frame)
            for number, piece in enumerate(pieces, start=1):
                if len(piece) >= 4:
                    suffix = f".{number}" if len(pieces) > 1 else ""
                    found[f"atlantis_{subset}_{name}{suffix}"] = [key for _, key in piece]
    return found


@pytest.mark.parametrize("split_gaps", [False, True])
def test_a_messy_tree_is_read_as_a_literal_reader_does(tmp_path: Path, split_gaps: bool) -> None:
    root = messy(tmp_path)
    part = read(root, min_frames=4, split_gaps=split_gaps)["atlantis"]
    made = part.sequences
    ours = {
        name: [Path(path).stem for path in made.paths[made.first[s] : made.first[s + 1]]]
        for s, name in enumerate(made.video_ids)
    }
    assert ours == literally(root, split_gaps)
    assert len(ours) > 10
    assert {"listed twice", "panoramas", "without a picture on disk", "in query and database"} <= set(part.left_out)
    assert part.left_out["with a damaged row in seq_info.csv"] == 2
    assert made.labels[0]["city"] == "atlantis" and "country" not in made.labels[0]


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    part = read(messy(tmp_path), min_frames=1)["atlantis"]
    reasons = sum(n for reason, n in part.left_out.items() if not reason.startswith("sequences"))
    assert part.rows == len(part.sequences.time_s) + reasons


def test_places_and_times_that_are_none(tmp_path: Path) -> None:
    shots = drive("a", 16, 50, 3)
    shots[3] = Shot("a-3", 3, 95, 3, EPOCH_MS + 3000)
    still = [Shot(f"b-{i}", i, 50, 4, EPOCH_MS) for i in range(16)]
    write_subset(tmp_path / "train_val/x/query", {"a": shots, "b": still})
    made = read(tmp_path)["x"].sequences
    assert np.isnan(made.latlon_deg[3]).all() and np.isfinite(made.latlon_deg).all(axis=1).sum() == 31
    b = made.video_ids.index("x_query_b")
    assert made.start_utc[b] is None, "capture times that do not rise count as one picture a second"
    assert made.time_s[made.first[b] : made.first[b + 1]].tolist() == list(range(16))
    assert made.frames(0)[3].lat_deg is None


def test_no_streets_are_shared_with_apart_m(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    drives = {
        f"s{i}": [Shot(f"s{i}-{n}", n, *p, EPOCH_MS + 1000 * n) for n, p in enumerate(walk)]
        for i in range(150)
        for walk in [(rng.normal([48.8, 2.3], 0.02) + np.cumsum(rng.normal(0, 2e-4, (20, 2)), 0)).tolist()]
    }
    write_subset(tmp_path / "train_val/paris/query", drives)
    for apart_m, seed in ((30, 0), (200, 1)):
        part = read(tmp_path, apart_m=apart_m, seed=seed)["paris"]
        made = part.sequences
        split = np.repeat([labels["split"] for labels in made.labels], np.diff(made.first))
        train, val = made.latlon_deg[split == "train"], made.latlon_deg[split == "val"]
        assert distance_km(train[:, None], val[None]).min() > apart_m / 1000
        assert sides(part)["val"] == 30
        dropped = part.left_out[f"sequences within {apart_m} m of the other side"]
        assert dropped > 0 and sides(part)["train"] == 120 - dropped
    drawn = read(tmp_path)["paris"].sequences
    split = np.repeat([labels["split"] for labels in drawn.labels], np.diff(drawn.first))
    near = distance_km(drawn.latlon_deg[split == "train"][:, None], drawn.latlon_deg[split == "val"][None])
    assert near.min() < 0.03, "a draw leaves the same streets on both sides"


def test_what_is_no_such_folder_says_so(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Msls(tmp_path / "none", Recipe())
    with pytest.raises(InputError, match="not a folder of MSLS"):
        Msls(tree / "train_val", Recipe())
    with pytest.raises(UsageError, match=r"--city rome: not in .* cph, london, miami"):
        Msls(tree, Recipe(cities=("rome",)))
    make = tmp_path / "only"
    write_subset(make / "test/miami/query", {"m": drive("m", 16, 0, 0)}, placed=False)
    with pytest.raises(InputError, match="--with-test"):
        Msls(make, Recipe())
    with pytest.raises(UsageError, match="--apart-m needs positions"):
        Recipe(apart_m=50, with_test=True)


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda f: (f / "seq_info.csv").unlink(), InputError, r"seq_info.csv: no such file"),
        (lambda f: (f / "raw.csv").unlink(), InputError, r"raw.csv: no such file"),
        (lambda f: (f / "seq_info.csv").write_text("a,b\n1,2\n"), FormatError, "no column key, sequence_key"),
        (lambda f: (f / "raw.csv").write_bytes(b"\xff\xfe\x00"), FormatError, "not UTF-8"),
        (lambda f: (f / "seq_info.csv").write_text(""), FormatError, "it has none"),
        (lambda f: (f / "images").rename(f / "pictures"), InputError, "unpack the pictures"),
    ],
)  # fmt: skip
def test_damaged_cities_say_what_is_wrong(tmp_path: Path, damage, error: type[Exception], said: str) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "train_val/x/query"
    write_subset(folder, {"a": drive("a", 16, 50, 3)})
    damage(folder)
    with pytest.raises(error, match=said):
        read(tmp_path)


def test_a_city_without_any_usable_row_is_empty(tmp_path: Path) -> None:
    write_subset(tmp_path / "train_val/x/query", {})
    for recipe in ({}, {"apart_m": 50}, {"split_gaps": True}):
        assert len(read(tmp_path, **recipe)["x"].sequences) == 0
