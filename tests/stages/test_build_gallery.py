"""Galleries from every kind of input."""

import gzip
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, OutputError, UsageError
from vgeo.formats.features import FeatureWriter
from vgeo.formats.frames import format_frames
from vgeo.formats.gallery import read_gallery, write_gallery
from vgeo.geo.sphere import EARTH_RADIUS_KM, distance_km
from vgeo.records import FrameRecord
from vgeo.stages.build_gallery import build_gallery, build_points, describe
from vgeo.stages.city_gallery import all_cities
from vgeo.stages.gallery_inputs import read_places
from vgeo.stages.grid_gallery import GridRules, build_grid

LUND, PARIS, FIJI = (55.705, 13.191), (48.857, 2.352), (-17.0, 179.99)


def walk(start: tuple[float, float], steps: int, seed: int = 0) -> np.ndarray:
    """Positions a few tens of metres from each other."""
    rng = np.random.default_rng(seed)
    track = np.array(start) + np.cumsum(rng.normal(0, 2e-4, (steps, 2)), axis=0)
    track[:, 1] = (track[:, 1] + 180) % 360 - 180
    return np.round(track, 7)


def gpx(path: Path, track: np.ndarray) -> Path:
    points = "".join(f'<trkpt lat="{lat:.7f}" lon="{lon:.7f}"/>' for lat, lon in track)
    head = '<gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1">'
    path.write_text(f"{head}<trk><trkseg>{points}</trkseg></trk></gpx>")
    return path


def features(path: Path, clips: dict[str, np.ndarray], labels: dict[str, dict[str, str]] | None = None) -> Path:
    """A feature file in which frame t of every clip has the feature (t, lat, lon, 1)."""
    spec = EncoderSpec(name="toy", dim=4, weights="w", weights_hash="abc", preprocessing="none", settings={})
    with FeatureWriter(path, {"toy": spec}, "1 Hz", "pyav") as writer:
        for name, track in clips.items():
            times = np.arange(len(track), dtype=float)
            known = np.nan_to_num(track)
            table = np.column_stack([times, known, np.ones(len(track))])
            writer.add(name, {"toy": table}, times, track, labels=(labels or {}).get(name, {}))
        writer.finish(list(clips))
    return path


@pytest.fixture
def clips() -> dict[str, np.ndarray]:
    return {"lund": walk(LUND, 40), "paris": walk(PARIS, 30, 1), "fiji": walk(FIJI, 20, 2)}


def send(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Put data on stdin."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def covers(gallery_deg: np.ndarray, track: np.ndarray, spacing_km: float) -> bool:
    """Every position has a gallery point within half the diagonal of a grid cell (a little more: rows are rounded)."""
    return bool((distance_km(track[:, None], gallery_deg[None]).min(axis=1) <= 0.72 * spacing_km * 1.1).all())


def test_grid_of_a_feature_file_has_one_region_a_city(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    gallery = build_grid([features(tmp_path / "f.h5", clips)], GridRules(spacing_km=0.05, margin_km=0.6))
    assert gallery.attributes["regions"] == 3 and not gallery.labels
    for track in clips.values():
        assert covers(gallery.latlon_deg, track, 0.05)
    nearest = np.min([distance_km(gallery.latlon_deg, home) for home in (LUND, PARIS, FIJI)], axis=0)
    assert nearest.max() < 5  # nothing between the cities, nor around the Earth
    assert len(gallery) * 0.05**2 == pytest.approx(gallery.attributes["area_km2"], rel=0.05)


def test_grid_by_label(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    clips["lund2"] = walk((55.72, 13.2), 15, 5)
    labels = {name: {"city": name[:4]} for name in ("lund", "lund2", "paris")}
    source = features(tmp_path / "f.h5", clips, labels)
    gallery = build_grid([source], GridRules(region_label="city", spacing_km=0.2, margin_km=0.1))
    assert set(gallery.labels["city"]) == {"lund", "pari"}  # fiji has no label
    lund = gallery.latlon_deg[gallery.labels["city"] == "lund"]
    both = np.concatenate([clips["lund"], clips["lund2"]])
    margin = 0.1 / (math.pi * EARTH_RADIUS_KM / 180)
    assert lund[:, 0].min() == pytest.approx(both[:, 0].min() - margin, abs=1e-6)
    assert lund[:, 0].max() == pytest.approx(both[:, 0].max() + margin, abs=1e-6)
    with pytest.raises(InputError, match=r"'town'.*video_id, city"):
        build_grid([source], GridRules(region_label="town"))


def test_small_regions_are_left_out(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    source = features(tmp_path / "f.h5", clips)
    assert build_grid([source], GridRules(min_points=25)).attributes["regions"] == 2
    with pytest.raises(InputError, match="--min-points"):
        build_grid([source], GridRules(min_points=1000))


def test_grid_within_an_area(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    lat, lon = clips["lund"].mean(axis=0)
    half = [[lon, lat - 1], [lon + 1, lat - 1], [lon + 1, lat + 1], [lon, lat + 1], [lon, lat - 1]]
    area = tmp_path / "half.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [half]}))
    source = features(tmp_path / "f.h5", {"lund": clips["lund"]})
    whole = build_grid([source], GridRules(spacing_km=0.1))
    cut = build_grid([source], GridRules(spacing_km=0.1), within=area)
    expected = whole.latlon_deg[whole.latlon_deg[:, 1] >= lon]
    assert np.array_equal(cut.latlon_deg, expected) and 0 < len(expected) < len(whole)


def test_an_area_without_inputs_is_filled_evenly(shared_dir: Path, tmp_path: Path) -> None:
    packed = shared_dir / "data/natural-earth-110m/ne_110m_admin_0_countries.geojson.gz"
    collection = json.loads(gzip.decompress(packed.read_bytes()))
    chosen = [f for f in collection["features"] if f["properties"]["iso_a2"] in ("CL", "SE")]
    area = tmp_path / "two.geojson"
    area.write_text(json.dumps({"type": "FeatureCollection", "features": chosen}))
    gallery = build_grid([], GridRules(spacing_km=20), within=area)
    for box, km2 in (((-56, -17), 756_000), ((55, 70), 450_000)):  # Chile and Sweden with its lakes
        lat = gallery.latlon_deg[:, 0]
        points = gallery.latlon_deg[(lat > box[0]) & (lat < box[1])]
        assert len(points) * 400 == pytest.approx(km2, rel=0.15)
        away = distance_km(points[:, None], points[None])
        nearest = np.where(away == 0, np.inf, away).min(axis=1)
        assert np.quantile(nearest, [0.02, 0.98]) == pytest.approx([15, 15], rel=0.4)


def test_a_grid_of_absurd_size_is_refused_with_a_spacing_that_fits(tmp_path: Path) -> None:
    source = gpx(tmp_path / "t.gpx", np.array([[48.0, 2.0], [48.05, 2.05], [48.1, 2.1]]))
    with pytest.raises(UsageError, match=r"--spacing-km ([\d.]+) would fit") as error:
        build_grid([source], GridRules(spacing_km=0.001, max_points=10_000))
    fitting = float(str(error.value).partition("--spacing-km ")[2].split()[0])
    assert 5_000 < len(build_grid([source], GridRules(spacing_km=fitting, max_points=10_000))) <= 10_000


def test_the_guard_counts_only_what_lies_in_the_area(tmp_path: Path) -> None:
    thin = [[0, 0], [10, 7], [10, 7.1], [0, 0.1], [0, 0]]  # at 45 degrees, rows and edges would keep step
    area = tmp_path / "thin.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [thin]}))
    gallery = build_grid([], GridRules(spacing_km=2, max_points=60_000), within=area)
    assert len(gallery) == pytest.approx(0.1 * 10 * 111.195**2 / 4, rel=0.05)
    with pytest.raises(UsageError, match="--max-points"):
        build_grid([], GridRules(spacing_km=2, max_points=2_000), within=area)


def test_an_area_without_a_point_is_an_error(tmp_path: Path) -> None:
    area = tmp_path / "far.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}))
    source = gpx(tmp_path / "t.gpx", walk(PARIS, 5))
    with pytest.raises(InputError, match="no point of the grid"):
        build_grid([source], within=area)


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("spacing_km", [0.0, -1.0, 1e-320, math.nan, math.inf]),
        ("margin_km", [-1.0, math.nan, math.inf]),
        ("trim_percent", [-1.0, 50.0, math.nan]),
    ],
)
def test_rules_that_make_no_sense(rule: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=f"--{rule.replace('_', '-')}"):
            GridRules(**{rule: value})


# --- inputs ---


def test_every_kind_of_input_gives_its_positions(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    track = clips["fiji"]
    folder = tmp_path / "tracks"
    folder.mkdir()
    gpx(folder / "a.gpx", track[:8])
    gpx(folder / "b.gpx", track[8:])
    table = tmp_path / "t.csv"
    table.write_text("video_id,lat,lon\n" + "".join(f"x,{lat:.7f},{lon:.7f}\n" for lat, lon in track))
    records = [
        FrameRecord(video_id="v", frame_index=i, time_s=float(i), path=f"{i}.jpg", lat_deg=lat, lon_deg=lon)
        for i, (lat, lon) in enumerate(track.tolist())
    ]
    records.append(FrameRecord(video_id="v", frame_index=99, time_s=99.0, path="99.jpg"))
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/frames.jsonl").write_text(format_frames(records))
    line = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": track[:, ::-1].tolist()}}
    (tmp_path / "l.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [line]}))
    write_gallery(tmp_path / "g.h5", build_points([table]))
    sources = [
        features(tmp_path / "f.h5", {"fiji": track}),
        folder,
        table,
        tmp_path / "frames",
        tmp_path / "frames/frames.jsonl",
        tmp_path / "l.geojson",
        tmp_path / "g.h5",
    ]
    for source in sources:
        assert np.abs(read_places([source]).latlon_deg - track).max() < 1e-9, source
    together = read_places(sources)
    assert len(together) == len(track) * len(sources)
    assert read_places([sources[3]]).labels["video_id"].tolist() == ["v"] * len(track)


def test_points_of_a_feature_file_keep_features_of_placed_frames(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    clips["lund"][[0, 7]] = np.nan
    source = features(tmp_path / "f.h5", clips, {"paris": {"city": "Paris"}})
    gallery = build_gallery("points", [source], tmp_path / "g.h5", keep_features=True)
    back = read_gallery(tmp_path / "g.h5")
    assert len(gallery) == len(back) == 88 and back.digest == gallery.digest
    known = np.concatenate([track[~np.isnan(track[:, 0])] for track in clips.values()])
    assert np.array_equal(back.latlon_deg, known)
    assert back.features["toy"][:, 1:3] == pytest.approx(known, rel=1e-3)
    assert back.features["toy"][:3, 0].tolist() == [1, 2, 3]
    assert back.labels["city"].tolist() == [""] * 38 + ["Paris"] * 30 + [""] * 20
    assert back.encoders["toy"].weights_hash == "abc"
    assert not build_points([source]).features


def test_unique_and_thin(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("LAT,LON,name\n1,1,a\n1,1,b\n1.00001,1,c\n2,2,d\n")
    assert build_points([path]).labels["name"].tolist() == ["a", "b", "c", "d"]
    assert build_points([path], unique=True).labels["name"].tolist() == ["a", "c", "d"]
    assert build_points([path], thin_m=5).labels["name"].tolist() == ["a", "d"]
    with pytest.raises(UsageError, match="--thin-m"):
        build_points([path], thin_m=math.nan)


def test_inputs_that_hold_no_positions_name_the_next_step(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    blind = features(tmp_path / "f.h5", {"x": np.full((4, 2), np.nan)})
    with pytest.raises(InputError, match=r"none of its 4 frames.*--track"):
        build_grid([blind])
    with pytest.raises(InputError, match="vgeo precompute-features"):
        build_points([tmp_path / "missing.h5"])
    with pytest.raises(InputError, match="no features to keep"):
        build_points([gpx(tmp_path / "t.gpx", clips["lund"])], keep_features=True)
    with pytest.raises(FormatError):
        build_points([_write(tmp_path / "bad.csv", "lat,lon\nx,y\n")])
    with pytest.raises(InputError, match="no such file"):
        build_points([tmp_path / "missing.gpx"])
    with pytest.raises(UsageError, match="--within"):
        build_grid([])


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- cities ---


def test_cities_carry_their_hierarchy() -> None:
    gallery = all_cities(100_000, ["Sweden", "US"])
    row = gallery.labels["city"].tolist().index("Malmö")
    labels = {name: values[row] for name, values in gallery.labels.items()}
    assert labels | {"population": ""} == {
        "city": "Malmö",
        "state": "Skåne",
        "country": "Sweden",
        "country_code": "SE",
        "continent": "Europe",
        "population": "",
    }
    assert min(map(int, gallery.labels["population"])) >= 100_000
    assert set(gallery.labels["country"]) == {"Sweden", "United States"}
    with pytest.raises(InputError, match="--min-population"):
        all_cities(50_000_000)


# --- the whole stage ---


def test_output_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    out = _write(tmp_path / "g.h5", "precious")
    with pytest.raises(OutputError, match="--overwrite"):
        build_gallery("cities", [], out)
    assert out.read_text() == "precious"
    with pytest.raises(UsageError, match="HDF5"):
        build_gallery("points", [], tmp_path / "g.csv", keep_features=True)
    with pytest.raises(UsageError, match="--country"):
        build_gallery("cities", ["x.csv"], tmp_path / "new.h5", countries=["SE"])
    with pytest.raises(UsageError, match="grid, points, cities"):
        build_gallery("tiles", [], tmp_path / "new.h5")
    assert not (tmp_path / "new.h5").exists()


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    source = features(tmp_path / "f.h5", clips)
    for name in ("a.h5", "b.h5"):
        build_gallery("grid", [source], tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_keys_of_a_model_are_stored_under_its_hash(tmp_path: Path) -> None:
    from vgeo.device import choose
    from vgeo.methods import get
    from vgeo.stages.keys import gallery_keys
    from vgeo.stages.models import Model

    cls = get("geoclip")
    model = Model(
        name="geoclip", method=cls(cls.debug_config()).eval(), encoders={}, hash="0123abcd", folder=None, gallery=None
    )
    compute = choose("cpu", "fp32")
    path = _write(tmp_path / "p.csv", "LAT,LON\n1,1\n50,8\n-20,-179.5\n")
    build_gallery("points", [path], tmp_path / "g.h5", model=model, compute=compute)
    stored = read_gallery(tmp_path / "g.h5")
    assert set(stored.keys) == {"0123abcd"}
    assert np.linalg.norm(stored.keys["0123abcd"], axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    fresh = gallery_keys(model, read_gallery(path), compute)
    assert np.abs(np.asarray(fresh) - stored.keys["0123abcd"]).max() < 1e-6


def test_the_line_for_people(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    gallery = build_gallery("grid", [features(tmp_path / "f.h5", clips)], tmp_path / "g.h5")
    line = describe(gallery, tmp_path / "g.h5")
    assert "3 regions" in line and "km²" in line and "spacing 0.1 km" in line and f"{len(gallery):,} points" in line


@pytest.mark.parametrize("suffix", ["csv", "geojson"])
def test_a_gallery_on_stdin_keeps_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = tmp_path / f"cities.{suffix}"
    write_gallery(path, all_cities(1_000_000, ["Sweden", "Japan"]))
    by_name = read_places([path])
    send(monkeypatch, path.read_bytes())
    piped = read_places(["-"])
    assert np.array_equal(piped.latlon_deg, by_name.latlon_deg)
    assert "Stockholm" in piped.labels["city"]
    assert {name: list(column) for name, column in piped.labels.items()} == {
        name: list(column) for name, column in by_name.labels.items()
    }


def test_tracks_come_on_stdin_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track = walk(LUND, 9)
    send(monkeypatch, gpx(tmp_path / "a.gpx", track).read_bytes())
    assert np.array_equal(read_places(["-"]).latlon_deg, track)
    line = {"type": "LineString", "coordinates": track[:, ::-1].tolist()}
    feature = {"type": "Feature", "geometry": line, "properties": {"video_id": "a"}}
    send(monkeypatch, json.dumps({"type": "FeatureCollection", "features": [feature]}).encode())
    assert np.array_equal(read_places(["-"]).latlon_deg, track)
    send(monkeypatch, b"")
    with pytest.raises(FormatError, match=r"^-: empty"):
        read_places(["-"])


def test_boxes_as_tall_as_countries_keep_the_spacing(tmp_path: Path) -> None:
    """The paper counts columns along the southern edge: at a pole that is one, and the equator would have it too."""
    track = gpx(tmp_path / "a.gpx", walk(LUND, 9))
    world = build_grid([track], GridRules(spacing_km=300, margin_km=20_000))
    everywhere = np.random.default_rng(0).normal(size=(500, 3))
    lat = np.degrees(np.arcsin(everywhere[:, 2] / np.linalg.norm(everywhere, axis=1)))
    places = np.stack([lat, np.degrees(np.arctan2(everywhere[:, 1], everywhere[:, 0]))], axis=1)
    assert covers(world.latlon_deg, places, 300)
    assert len(world) == pytest.approx(4 * np.pi * EARTH_RADIUS_KM**2 / 300**2, rel=0.05)
    with pytest.raises(UsageError, match="--spacing-km"):
        build_grid([track], GridRules(spacing_km=0.1, margin_km=20_000))


def test_a_header_without_places_is_refused(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("LAT,LON\n")
    with pytest.raises(InputError, match=r"h\.csv: no places"):
        build_gallery("points", [tmp_path / "h.csv"], tmp_path / "g.h5")
    assert not (tmp_path / "g.h5").exists()


def test_small_areas_are_covered_to_their_edges(tmp_path: Path) -> None:
    """A disc four spacings wide holds as many points as its area says, and none of it is far from one."""
    turn = np.radians(np.arange(0, 360, 5))
    ring = [[10 + 0.2 * np.cos(a), 0.2 * np.sin(a)] for a in turn]
    area = tmp_path / "disc.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}))
    spacing_km = 0.1 * np.pi / 180 * EARTH_RADIUS_KM
    found = build_grid([], GridRules(spacing_km=spacing_km), within=area).latlon_deg
    assert 11 <= len(found) <= 14  # pi 2^2 = 12.6
    inside = np.array([[0.19 * r * np.sin(a), 10 + 0.19 * r * np.cos(a)] for a in turn for r in (0, 0.5, 1)])
    assert distance_km(inside[:, None], found[None]).min(axis=1).max() < spacing_km


def test_a_gallery_is_made_of_what_is_trained_on(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    """VidTAG, section 4.2: it must know nothing of the validation set."""
    labels = {"lund": {"split": "train"}, "paris": {"split": "val"}, "fiji": {"split": "train"}}
    path = features(tmp_path / "f.h5", clips, labels)
    assert np.array_equal(read_places([path]).latlon_deg, np.concatenate([clips["lund"], clips["fiji"]]))
    assert np.array_equal(read_places([path], split="val").latlon_deg, clips["paris"])
    assert len(read_places([path], split="all")) == 90
    kept = read_places([path], keep_features=True)
    assert kept.features["toy"][:, 0].tolist() == [*range(40), *range(20)]
    grid = build_grid([path], GridRules(spacing_km=0.1, margin_km=0.1))
    assert distance_km(grid.latlon_deg, np.array(PARIS)).min() > 1000
    unlabelled = gpx(tmp_path / "oslo.gpx", walk((59.9, 10.7), 7))
    assert len(read_places([path, unlabelled])) == 60 + 7
    with pytest.raises(InputError, match="--split test: no position is labelled so; there are train, val and all"):
        read_places([path], split="test")
    with pytest.raises(InputError, match="no label split"):
        read_places([unlabelled], split="train")
    assert len(read_places([unlabelled], split="all")) == 7
