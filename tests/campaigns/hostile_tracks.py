"""Tracks, tables and GeoJSON as nobody should send them, given to what reads positions."""

# ruff: noqa: E501  # a case a line

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from campaign_hostile import Case
from forks import Ran

Spots = list[tuple[float, float]]
_HEAD = '<?xml version="1.0"?>'
_GPX = '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'


def cases(world: Path, port: int) -> Iterator[Case]:
    """What is refused is refused by all that read positions; what is handled gives the right ones."""
    for name, (file, text, says) in refused(port).items():
        code = (65, 66) if name in ("no features", "a header alone") else (65,)
        for args in (
            ("build-gallery", "points", file, "-o", "out.csv"),
            ("score-trajectory", "tracks.geojson", "--truth", file),
            ("extract-frames", "clips/v0.mp4", "--count", "2", "--track", file, "-o", "out", "--fail-fast"),
        ):
            yield Case(
                name=name, kind="tracks", make=_written(file, text), args=args, code=code, says=says, may_make="out"
            )

    for name, (file, text, spots) in handled().items():
        args = ("build-gallery", "points", file, "-o", "out.csv")
        yield Case(name=name, kind="tracks", make=_written(file, text), args=args, code=(0,), holds=_at(spots))
    yield from _formulas()
    yield from _terminals()


def _written(file: str, content: str | bytes) -> Callable[[Path], None]:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return lambda here: (here / file).write_bytes(data) and None


def _at(spots: Spots) -> Callable[[Path, Ran], str]:
    """The positions of out.csv are these, in any order."""

    def holds(here: Path, _: Ran) -> str:
        rows = list(csv.DictReader((here / "out.csv").open()))
        found = sorted((float(row["LAT"]), float(row["LON"])) for row in rows)
        same = len(found) == len(spots) and all(
            math.isclose(a, b, abs_tol=1e-6)
            for x, y in zip(found, sorted(spots), strict=True)
            for a, b in zip(x, y, strict=True)
        )
        return "" if same else f"found {found[:4]}, expected {sorted(spots)[:4]}"

    return holds


def line(*positions: object, **properties: object) -> str:
    """A LineString of positions as they are."""
    feature = {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "LineString", "coordinates": positions},
    }
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


def gpx(inside: str, head: str = "") -> str:
    """A track of two points and what is put before it."""
    return f"{_HEAD}{head}{_GPX}<trk><trkseg>{inside}</trkseg></trk></gpx>"


def point(lat: object, lon: object, more: str = "") -> str:
    """A point of a GPX track."""
    return f'<trkpt lat="{lat}" lon="{lon}">{more}</trkpt>'


def refused(port: int) -> dict[str, tuple[str, str | bytes, str]]:
    """Name: file, its content, and what is said."""
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(10))
    two = point(1, 2) + point(3, 4)
    return {
        "NaN in GeoJSON": ("t.geojson", line([2, 1], [4, float("nan")]), "NaN"),
        "Infinity in GeoJSON": ("t.geojson", line([2, 1], [4, float("inf")]), "Infinity"),
        "1e999 in GeoJSON": ("t.geojson", line([2, 1], [4, 0]).replace("0]", "1e999]"), "not finite|inf"),
        "95 degrees in GeoJSON": ("t.geojson", line([2, 1], [4, 95]), "not on the Earth.* 95"),
        "lat and lon exchanged": ("t.geojson", line([52.1, 4.5], [52.2, 104.6]), "swapped"),
        "lat and lon exchanged in CSV": ("t.csv", "lat,lon\n104.5,52.1\n104.6,52.1\n", "swapped"),
        "4-d coordinates": ("t.geojson", line([2, 1, 0, 5], [4, 3, 0, 6]), "position is lon, lat"),
        "1-d coordinates": ("t.geojson", line([2], [4]), "position is lon, lat"),
        "text for a number": ("t.geojson", line(["a", "b"], [4, 3]), "not a number"),
        "booleans for numbers": ("t.geojson", line([True, False], [4, 3]), "not a number"),
        "10^5 brackets": ("t.geojson", '{"type": "Feature", "geometry": ' + "[" * 100_000, "nested"),
        "10^5 objects in each other": ("t.geojson", '{"type": "Feature", "properties": ' + '{"a":' * 100_000, "nested"),
        "a number of 10^5 digits": ("t.geojson", line([2, 1], [4, 3]).replace("3", "3" * 100_000), "digits|finite|number"),
        "null geometry": ("t.geojson", json.dumps({"type": "Feature", "properties": {}, "geometry": None}), "no lines or points"),
        "no features": ("t.geojson", '{"type": "FeatureCollection", "features": []}', "no lines or points|no places"),
        "features that are none": ("t.geojson", '{"type": "FeatureCollection", "features": [1, "x"]}', "not an object"),
        "features null": ("t.geojson", '{"type": "FeatureCollection", "features": null}', "list of features"),
        "an empty line": ("t.geojson", line(), "no positions|no lines"),
        "fewer times than positions": ("t.geojson", line([2, 1], [4, 3], coordTimes=["2020-01-01T00:00:00Z"]), "for 2 positions"),
        "times that are objects": ("t.geojson", line([2, 1], [4, 3], coordTimes=[{}, []]), "not a number|for 2 positions"),
        "times of the year 10^9": ("t.geojson", line([2, 1], [4, 3], coordTimes=[1e300, 1e301]), "no time"),
        "one clip twice": ("t.geojsonl", "\n".join([line([2, 1], [4, 3], video_id="a")] * 2), "second line|give each clip once"),
        "another coordinate system": (
            "t.geojson", line([500_000, 5_700_000], [500_100, 5_700_100]), "not on the Earth"),
        "half a letter": ("t.geojson", b'{"type": "Feature", "properties": {"video_id": "\xff"}}', "UTF-8"),
        "UTF-16": ("t.geojson", line([2, 1], [4, 3]).encode("utf-16"), "UTF-8"),
        "empty GeoJSON": ("t.geojson", "", "JSON|empty|holds no"),
        "empty CSV": ("t.csv", "", "names no columns|empty"),
        "empty GPX": ("t.gpx", "", "XML|empty"),
        "a header alone": ("t.csv", "lat,lon\n", "no positions|no places"),
        "CSV without columns": ("t.csv", "1,2\n3,4\n", "names no columns|no column for"),
        "CSV of NaN": ("t.csv", "lat,lon\nnan,2\n3,4\n", "not finite|not on the Earth"),
        "CSV of formulas": ("t.csv", "lat,lon\n=1+1,2\n3,4\n", "not a number|not degrees"),
        "CSV with a NUL": ("t.csv", b"lat,lon\n1\0,2\n3,4\n", "not a number|not a table|not degrees"),
        "a cell of 200 KB": ("t.csv", "lat,lon,name\n1,2," + "x" * 200_000 + "\n", "not a table|not CSV"),
        "a quote that never ends": ("t.csv", 'lat,lon,name\n1,2,"' + "x\n" * 100_000, "not a table|not CSV"),
        "a GPX of 91 degrees": ("t.gpx", gpx(point(91, 2) + point(3, 4)), "not on the Earth.* 91"),
        "a GPX of NaN": ("t.gpx", gpx(point("nan", 2) + point(3, 4)), "finite|NaN|number"),
        "a GPX without numbers": ("t.gpx", gpx('<trkpt lat="1">x</trkpt>'), "GPX|finite|positions"),
        "a GPX without points": ("t.gpx", gpx(""), "holds no track points"),
        "billion laughs": ("t.gpx", gpx(point(1, 2, "<name>&l9;</name>"), f"<!DOCTYPE gpx [{entities}]>"), "document type"),
        "an entity from a file": (
            "t.gpx", gpx(point(1, 2, "<name>&x;</name>"), '<!DOCTYPE gpx [<!ENTITY x SYSTEM "../secret.txt">]>'), "document type"),
        "an entity from the network": (
            "t.gpx", gpx(two, f'<!DOCTYPE gpx SYSTEM "http://127.0.0.1:{port}/x.dtd">'), "document type"),
        "a parameter entity in KML": (
            "t.kml", f'{_HEAD}<!DOCTYPE kml [<!ENTITY % x SYSTEM "http://127.0.0.1:{port}/x">%x;]><kml/>', "document type"),
        "10^5 elements in each other": ("t.gpx", _HEAD + _GPX + "<a>" * 100_000, "nested"),
        "GPX that is HTML": ("t.gpx", "<!DOCTYPE html><html><body>404</body></html>", "document type|begins with"),
        "GPX that is SVG": ("t.gpx", f'{_HEAD}<svg xmlns="http://www.w3.org/2000/svg"/>', "begins with <svg"),
        "cut GPX": ("t.gpx", gpx(two)[:-30], "not XML"),
        "KML of nothing": ("t.kml", f'{_HEAD}<kml xmlns="http://www.opengis.net/kml/2.2"><Document/></kml>', "holds no"),
        "KML of 95 degrees": (
            "t.kml", f'{_HEAD}<kml xmlns="http://www.opengis.net/kml/2.2"><Placemark><LineString><coordinates>2,95 3,4'
            "</coordinates></LineString></Placemark></kml>", "not on the Earth.* 95"),
        "JSON lines of anything": ("t.jsonl", '{"a": 1}\n[2]\n', "not a JSON object|no positions"),
        "a line of 20 MB": ("t.jsonl", '{"video_id": "' + "x" * 20_000_000 + '"', "not JSON"),
        "a latitude of another unit": ("t.csv", "lat,lon\n521234567,45678900\n", "not on the Earth"),
    }  # fmt: skip


def handled() -> dict[str, tuple[str, str | bytes, Spots]]:
    """Name: file, its content, and the positions it says."""
    times = ["2020-01-01T00:00:02Z", "2020-01-01T00:00:01Z"]
    many = 200_000
    return {
        "no times": ("t.geojson", line([2, 1], [4, 3]), [(1, 2), (3, 4)]),
        "reversed times": ("t.geojson", line([2, 1], [4, 3], coordTimes=times), [(1, 2), (3, 4)]),
        "the same times": ("t.geojson", line([2, 1], [4, 3], coordTimes=times[:1] * 2), [(1, 2), (3, 4)]),
        "altitudes": ("t.geojson", line([2, 1, 1e9], [4, 3, -1e9]), [(1, 2), (3, 4)]),
        "longitudes beyond 180": ("t.geojson", line([182, 1], [-184, 3]), [(1, -178), (3, 176)]),
        "mixed geometries": (
            "t.geojson", json.dumps({"type": "FeatureCollection", "features": [
                json.loads(line([2, 1], [4, 3]))["features"][0],
                {"type": "Feature", "properties": None, "geometry": {"type": "Polygon", "coordinates": [[]]}},
                {"type": "Feature", "properties": None, "geometry": None}]}), [(1, 2), (3, 4)]),
        "a byte order mark": ("t.csv", "\ufefflat,lon\n1,2\n3,4\n", [(1, 2), (3, 4)]),
        "CRLF": ("t.csv", "lat,lon\r\n1,2\r\n3,4\r\n", [(1, 2), (3, 4)]),
        "semicolons and decimal commas": ("t.csv", "lat;lon\n1,5;2,5\n3,5;4,5\n", [(1.5, 2.5), (3.5, 4.5)]),
        "tabs": ("t.tsv", "lat\tlon\n1\t2\n3\t4\n", [(1, 2), (3, 4)]),
        "quotes around all": ("t.csv", '"lat","lon"\n"1","2"\n"3","4"\n', [(1, 2), (3, 4)]),
        "empty lines": ("t.csv", "lat,lon\n\n1,2\n\n\n3,4\n\n", [(1, 2), (3, 4)]),
        "a wrong namespace": ("t.gpx", gpx(point(1, 2) + point(3, 4)).replace("topografix", "example"), [(1, 2), (3, 4)]),
        "no namespace": ("t.gpx", f"{_HEAD}<gpx><trk><trkseg>{point(1, 2)}{point(3, 4)}</trkseg></trk></gpx>", [(1, 2), (3, 4)]),
        f"{many} rows": ("t.csv", "lat,lon\n" + "".join(f"{i % 90},{i % 180}\n" for i in range(many)),
                         [(i % 90, i % 180) for i in range(many)]),
    }  # fmt: skip


def _formulas() -> Iterator[Case]:
    """Names that a spreadsheet would run are written so that it does not, and read back as they were."""
    names = [
        "=cmd|'/c calc'!A1",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\tx",
        "'quoted",
        '=HYPERLINK("http://x","y")',
        'a,b"c\nd',
    ]

    def make(here: Path) -> None:
        for format in ("truth", "labels"):
            with (here / f"{format}.csv").open("w", newline="") as file:
                rows = csv.writer(file)
                if format == "truth":
                    rows.writerows(
                        [
                            ["video_id", "lat", "lon"],
                            *([_guard(n), 1 + i, 2] for i, n in enumerate(names) for _ in "ab"),
                        ]
                    )
                else:
                    rows.writerows(
                        [["city", "country", "lat", "lon"], *([_guard(n), n, i, i] for i, n in enumerate(names))]
                    )

    def no_formula(file: str) -> Callable[[Path, Ran], str]:
        def holds(here: Path, _: Ran) -> str:
            rows = list(csv.reader((here / file).open(newline="")))
            if len(rows) < len(names):
                return f"{len(rows)} rows"
            bad = [cell for row in rows[1:] for cell in row if cell.startswith(("=", "+", "@", "\t")) or (
                cell.startswith("-") and not _is_number(cell))]  # fmt: skip
            said = {
                cell[1:] if cell[:1] == "'" and cell[1:2] in "=+-@\t'" else cell for row in rows[1:] for cell in row
            }
            lost = [name for name in names if name not in said and name.strip() not in said]
            return f"formulas {bad[:3]}" if bad else f"lost {lost}" if lost else ""

        return holds

    yield Case(name="formulas as names of cities", kind="CSV output", make=make, code=(0,), holds=no_formula("out.csv"),
               args=("build-gallery", "cities", "labels.csv", "-o", "out.csv"))  # fmt: skip


def _guard(name: str) -> str:
    return f"'{name}" if name[:1] in "=+-@\t\r'" else name


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _terminals() -> Iterator[Case]:
    """Escape codes, bells and line breaks in names do not reach the terminal."""
    evil = "\x1b[31mred\x07\x1b]0;title\x07\nvgeo: all is well\r\u202egnp.exe"
    for name, file, text in (
        ("GeoJSON", "t.geojson", line([2, 1], [4, 95], video_id=evil)),
        ("CSV", "t.csv", f'video_id,lat,lon\n"{evil}",1,2\n"{evil}",95,2\n'),
        ("JSON lines", "t.jsonl", json.dumps({"video_id": evil, "lat": 95, "lon": 1}) + "\n"),
    ):
        for args in (
            ("build-gallery", "points", file, "-o", "out.csv"),
            ("score-trajectory", file, "--truth", "tracks.geojson"),
        ):
            yield Case(name=f"escape codes in {name}", kind="terminals", make=_written(file, text), args=args, code=(65,),
                       says="95", holds=_one_line)  # fmt: skip


def _one_line(_: Path, ran: Ran) -> str:
    lines = [text for text in ran.stderr.splitlines() if text.startswith("vgeo: ")]
    odd = [letter for letter in ran.stderr.replace("\n", "") if not letter.isprintable()]
    return "" if len(lines) == 1 and not odd else f"{len(lines)} lines, {odd[:3]}"
