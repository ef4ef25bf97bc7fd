"""Scores of rankings, against loops written from the published evaluation's rules."""

import math

import mercantile
import numpy as np
import pytest
from rankingmaker import of_lists

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.formats.ranking_truth import is_table, read_known
from vgeo.records import Track
from vgeo.stages.ranking_truth import Truth, median_position, of_gallery, read_ranked, read_truth
from vgeo.stages.regions import share_or_count
from vgeo.stages.score_rankings import score_rankings

ZOOM = 19


def miles(a, b):
    lat1, lon1, lat2, lon2 = map(math.radians, (*a, *b))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 3956 * math.asin(math.sqrt(h))


def tile(at):
    found = mercantile.tile(at[1], at[0], ZOOM)
    return f"{found.x}_{found.y}"


def middle(name):
    x, y = map(int, name.split("_"))
    box = mercantile.bounds(x, y, ZOOM)
    return np.array([(box.south + box.north) / 2, (box.west + box.east) / 2])


@pytest.fixture(scope="module")
def drives():
    """12 videos of 6 to 14 seconds through one quarter, 10 m/s and standing at times; positions by clip id."""
    rng = np.random.default_rng(0)
    tracks = []
    for v in range(12):
        n = int(rng.integers(6, 15))
        steps = rng.normal(0, 5e-5, 2) + rng.normal(0, 2e-5, (n, 2))
        steps[rng.random(n) < 0.3] = 0
        track = np.array([40.72, -73.99]) + rng.normal(0, 1e-3, 2) + np.cumsum(steps, axis=0)
        tracks.append(Track(video_id=f"b1_{v}", latlon_deg=track, time_s=np.arange(n) + rng.uniform(-0.3, 0.3, n)))
    clips = {f"{t.video_id}_{s}": t.latlon_deg[s] for t in tracks for s in range(len(t))}
    return tracks, clips


def rankings_of(queries, ids, seed, longest=70):
    """Random orders with ids twice, some short, one empty."""
    rng = np.random.default_rng(seed)
    lists = {}
    for n, name in enumerate(queries):
        length = longest if n % 4 else int(rng.integers(0, longest))
        lists[name] = rng.choice(ids, length).tolist()
        if n % 3 == 0 and lists[name]:
            lists[name][int(rng.integers(0, min(8, length)))] = name
    lists[list(queries)[5]] = []
    return lists


def published(lists, right, k, places=None, truth=None, within=None):
    """Percent of queries that are right at k, as the published evaluation's loops count them."""
    correct = 0
    for query, row in lists.items():
        top = row[:k]
        near = within is not None and any(miles(places[p], truth[query]) <= within for p in top)
        correct += bool(set(right[query]) & set(top)) or near
    return 100 * correct / len(lists)


def test_centred_tiles(drives):
    tracks, clips = drives
    lists = rankings_of(clips, list(clips), 1)
    report = score_rankings(
        of_lists(lists), Truth(known=(), tracks=tuple(tracks)), size=len(clips), at=["1", "5", "10", "10%", "50%"]
    )
    own = {name: [name] for name in clips}
    k = {"1": 1, "5": 5, "10": 10, "10%": len(clips) // 10, "50%": len(clips) // 2}
    wanted = {text: published(lists, own, number, clips, clips, 0.05) for text, number in k.items()}
    assert {r.asked: r.percent for r in report.recalls} == pytest.approx(wanted)
    assert len(set(wanted.values())) == 5
    for limit, share in zip(report.within_mi, report.within_percent, strict=True):
        assert share == pytest.approx(published(lists, own, 1, clips, clips, limit))
    errors = [miles(clips[row[0]], clips[name]) for name, row in lists.items() if row]
    assert report.mean_error_mi == pytest.approx(np.mean(errors))
    assert report.median_error_mi == pytest.approx(np.median(errors))
    assert report.measured == len(errors)
    assert report.unanswered == tuple(name for name, row in lists.items() if not row)
    assert report.repeating == sum(len(set(row)) < len(row) for row in lists.values())
    assert report.queries == len(clips) and report.unplaced_ids == 0


def test_tiles_of_the_grid(drives):
    tracks, clips = drives
    right = {name: [tile(at)] for name, at in clips.items()}
    ids = sorted({name for names in right.values() for name in names} | {f"{154_000 + n}_197000" for n in range(20)})
    places = {name: middle(name) for name in ids}
    gallery = Gallery(
        latlon_deg=np.array([places[name] for name in ids]),
        labels={"tile": np.array(ids, object)},
        attributes={"kind": "tiles", "zoom": ZOOM},
    )
    lists = rankings_of(clips, ids, 2)
    lists = {name: [right[name][0] if p == name else p for p in row] for name, row in lists.items()}
    truth = Truth(known=(), tracks=tuple(tracks))
    report = score_rankings(of_lists(lists), truth, rule="ucn", ranked=of_gallery(gallery), at=["1", "5", "10%"])
    wanted = [published(lists, right, k) for k in (1, 5, len(ids) // 10)]
    assert [r.percent for r in report.recalls] == pytest.approx(wanted)
    assert [r.k for r in report.recalls] == [1, 5, len(ids) // 10]
    assert report.within_percent[1] == pytest.approx(published(lists, right, 1, places, clips, 0.2))
    bare = score_rankings(of_lists(lists), truth, rule="ucn", at=["1", "10%"])  # tiles lie where their ids say
    assert bare.mean_error_mi == pytest.approx(report.mean_error_mi, abs=1e-5)
    assert bare.recalls[1].k is None and bare.recalls[1].percent is None


def test_regions_of_videos(drives):
    """First places by distance between medians, the rest exact: R@5 may be below R@1."""
    tracks, _ = drives
    medians = {t.video_id: np.median(t.latlon_deg, axis=0) for t in tracks}
    names = list(medians)
    lists = {name: list(np.random.default_rng(n).permutation(names)) for n, name in enumerate(names)}
    near = min((n for n in names[1:]), key=lambda n: miles(medians[n], medians[names[0]]))
    lists[names[0]] = [near, *(n for n in names if n not in (near, names[0])), names[0]]
    medians[near] = medians[names[0]] + [1e-4, 0]
    tracks = [
        t if t.video_id != near else Track(video_id=near, latlon_deg=medians[near][None], time_s=np.zeros(1))
        for t in tracks
    ]
    own = {name: [name] for name in names}
    truth = Truth(known=(), tracks=tuple(tracks))
    report = score_rankings(of_lists(lists), truth, rule="regions", size=12, at=["1", "5", "10%"])
    assert report.recalls[0].percent == pytest.approx(published(lists, own, 1, medians, medians, 0.05))
    assert report.recalls[0].percent > published(lists, own, 1)
    assert report.recalls[1].percent == pytest.approx(published(lists, own, 5))
    assert report.recalls[2].k == 1 and report.recalls[2].percent == report.recalls[0].percent
    videos = Gallery(
        latlon_deg=np.zeros((12, 2)),
        labels={"region": np.array([f"r{n}" for n in range(12)], object), "video": np.array(names, object)},
    )
    renamed = {query: [f"r{names.index(n)}" for n in row] for query, row in lists.items()}
    again = score_rankings(of_lists(renamed), truth, rule="regions", ranked=of_gallery(videos), at=["1", "5", "10%"])
    assert again.recalls == report.recalls
    assert again.mean_error_mi == pytest.approx(report.mean_error_mi)


def test_blocks_of_tiles_that_overlap(drives):
    tracks, _ = drives
    track = tracks[0]
    at = mercantile.tile(*median_position(track.latlon_deg)[::-1], ZOOM)
    corners = [(at.x - 3, at.y - 3), (at.x - 6, at.y), (at.x + 1, at.y), (at.x - 7, at.y)]
    places = []
    for x, y in corners:
        corner = mercantile.xy(*mercantile.ul(x, y, ZOOM)), mercantile.xy(*mercantile.ul(x + 7, y + 7, ZOOM))
        lng, lat = mercantile.lnglat(*np.mean(corner, axis=0))
        places.append((lat, lng))
    regions = Gallery(
        latlon_deg=np.array(places),
        labels={"region": np.array(list("abcd"), object)},
        attributes={"kind": "regions", "zoom": ZOOM, "across": 7},
    )

    def recall(order, k):
        truth = Truth(known=(), tracks=(track,))
        lists = of_lists({track.video_id: list(order)})
        return score_rankings(lists, truth, rule="regions", ranked=of_gallery(regions), at=[str(k)]).recalls[0].percent

    assert recall("cdab", 2) == 0
    assert recall("cdab", 3) == recall("cdba", 3) == 100


def test_nothing_is_said_that_cannot_be_known(drives):
    tracks, clips = drives
    truth = Truth(known=(), tracks=tuple(tracks))
    lists = {name: [name, "x_1", "x_2"] for name in clips}
    report = score_rankings(of_lists(lists), truth)
    assert [r.percent for r in report.recalls] == [100, None, None, None, None]  # rankings of three, gallery unknown
    assert [r.k for r in report.recalls] == [1, 5, 10, None, None]
    report = score_rankings(of_lists(lists), truth, size=3)
    assert [(r.k, r.percent) for r in report.recalls] == [(1, 100), (5, 100), (10, 100), (None, None), (None, None)]
    assert report.unplaced_ids == 2


def test_clips_without_a_place_are_counted(drives):
    tracks, clips = drives
    late = f"{tracks[0].video_id}_500"
    lists = {name: [name] for name in clips} | {late: [late], "other_3": ["other_3"], "nonsense": ["x"]}
    unseen = Track(video_id="unseen", latlon_deg=tracks[0].latlon_deg[:1], time_s=np.zeros(1))
    report = score_rankings(of_lists(lists), Truth(known=(), tracks=(*tracks, unseen)), at=["1"])
    assert report.unmatched_queries == (late, "other_3", "nonsense")
    assert report.unmatched_truth == ("unseen",)
    assert report.queries == len(clips)


def test_what_is_ranked_lies_where_its_video_was_though_nothing_was_asked_of_that(drives):
    tracks, clips = drives
    a, b = tracks[0].video_id, tracks[1].video_id
    truth = Truth(known=(), tracks=tuple(tracks))
    report = score_rankings(of_lists({f"{a}_2": [f"{b}_1"]}), truth)
    assert report.mean_error_mi == pytest.approx(miles(clips[f"{a}_2"], clips[f"{b}_1"]))
    report = score_rankings(of_lists({a: [b]}), truth, rule="regions")
    wanted = miles(*(np.median(track.latlon_deg, axis=0) for track in tracks[:2]))
    assert report.mean_error_mi == pytest.approx(wanted)


def test_a_table_says_what_is_right(tmp_path):
    (tmp_path / "truth.csv").write_text(
        "clip,tile,lat,lon\na_1,t1,40.7,-74\na_2,t2,40.7,-74.1\na_3,t3,,\nb_1,t9,40.7,-74.3\n"
    )
    truth = read_truth([tmp_path / "truth.csv"])
    lists = of_lists({"a_1": ["t7", "t1"], "a_2": ["t2"], "a_3": ["t3", "t1"], "c_1": ["t1"]})
    report = score_rankings(lists, truth, at=["1", "2", "50%"])
    assert [r.percent for r in report.recalls] == pytest.approx([200 / 3, 100, 100])
    assert report.gallery == 4  # a centred tile for each line
    assert report.without_position == ("a_3",)
    assert report.unmatched_truth == ("b_1",)
    assert report.unmatched_queries == ("c_1",)
    assert report.mean_error_mi == pytest.approx(0)  # t7 is nowhere; t3 has no place
    assert report.measured == 1


def test_a_list_of_gama_with_tracks(tmp_path):
    """Its tiles are those of the grid; among centred tiles the clip's own counts."""
    (tmp_path / "val_gps_day.list").write_text("v 3 154300_197100\nv 4 154300_197101\nv 4 154301_197101\n")
    (tmp_path / "v.csv").write_text("video_id,time_s,lat,lon\nv,3,40.7,-74\nv,4,40.8,-74\n")
    (tmp_path / "gallery_gps.list").write_text("".join(f"{154300 + n}_197101 v\n" for n in range(250)))
    truth = read_truth([tmp_path / "val_gps_day.list", tmp_path / "v.csv"])
    lists = {"v_3": ["154300_197100"], "v_4": ["154300_197101", "154301_197101"]}
    ranked = read_ranked(tmp_path / "gallery_gps.list")
    report = score_rankings(of_lists(lists), truth, rule="ucn", at=["1", "1%"], ranked=ranked)
    assert [(r.k, r.percent) for r in report.recalls] == [(1, 50), (2, 100)]  # of lines for one clip the last counts
    centred = of_lists({"v_3": ["v_3"], "v_4": ["v_3", "v_4"]})
    alone = score_rankings(centred, read_truth([tmp_path / "val_gps_day.list"]), at=["1", "2"])
    report = score_rankings(centred, truth, at=["1", "2"])
    assert [r.percent for r in report.recalls] == [r.percent for r in alone.recalls] == [50, 100]
    assert alone.mean_error_mi is None and len(alone.without_position) == 2
    assert report.mean_error_mi == pytest.approx(miles((40.7, -74), (40.8, -74)) / 2)


def test_what_is_a_table(tmp_path):
    for name, text, wanted in (
        ("a.csv", "Clip;Tile;lat;lon\na_1;t;40,5;-74,25\n", True),
        ("b.csv", "video,lat,lon\na,1,2\n", False),
        ("c.json", "{}", False),
        ("d.list", "v 1 3_4\n", True),
    ):
        (tmp_path / name).write_text(text)
        assert is_table(tmp_path / name) is wanted
    assert not is_table(tmp_path)
    assert read_known(tmp_path / "a.csv").latlon_deg.tolist() == [[40.5, -74.25]]
    for text, said in (
        ("clip,tile,lat\na_1,t,40\n", "only one of lat and lon"),
        ("clip,tile,lat,lon\na_1,t,940,3\n", "not on the Earth"),
        ("clip,tile\n,t\n", "names no clip"),
        ("name,tile\nx,t\n", "names no column clip"),
        ("clip,tile\n", "names no clips"),
    ):
        (tmp_path / "e.csv").write_text(text)
        with pytest.raises((FormatError, InputError), match=said):
            read_known(tmp_path / "e.csv")


def test_median_over_the_antimeridian():
    assert median_position(np.array([[1, 179.9], [2, -179.9], [3, -179.7]])).tolist() == pytest.approx([2, -179.9])


def test_refusals(drives):
    tracks, _ = drives
    with pytest.raises(InputError, match="nothing is known"):
        score_rankings(of_lists({"zz_1": ["zz_1"]}), Truth(known=(), tracks=tuple(tracks)))
    timeless = Track(video_id="b1_0", latlon_deg=np.array([[1.0, 2.0]]))
    with pytest.raises(FormatError, match="nothing of time"):
        score_rankings(of_lists({"b1_0_1": ["x"]}), Truth(known=(), tracks=(timeless,)))
    for text in ("0", "x", "-1%", "nan%", "1.5"):
        with pytest.raises(UsageError, match="number above 0"):
            share_or_count(text, 100)
    with pytest.raises(UsageError, match="miles"):
        score_rankings(of_lists({"b1_0_1": ["x"]}), Truth(known=(), tracks=tuple(tracks)), within_mi=[math.nan])
    with pytest.raises(InputError, match="no label tile or region"):
        of_gallery(Gallery(latlon_deg=np.zeros((1, 2))))
