"""What the GPX 1.1 schema asks (http://www.topografix.com/GPX/1/1/), for the elements that tracks use.

Written from the schema's documentation: which children an element has, in which order, how often, and what they hold.
"""

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

SPACE = "{http://www.topografix.com/GPX/1/1}"
ONE, MANY = "?", "*"

_POINT = (
    *(("ele", ONE), ("time", ONE), ("magvar", ONE), ("geoidheight", ONE), ("name", ONE), ("cmt", ONE), ("desc", ONE)),
    *(("src", ONE), ("link", MANY), ("sym", ONE), ("type", ONE), ("fix", ONE), ("sat", ONE), ("hdop", ONE)),
    *(("vdop", ONE), ("pdop", ONE), ("ageofdgpsdata", ONE), ("dgpsid", ONE), ("extensions", ONE)),
)
_LINE = (
    *(("name", ONE), ("cmt", ONE), ("desc", ONE), ("src", ONE), ("link", MANY), ("number", ONE), ("type", ONE)),
    *(("extensions", ONE),),
)
CHILDREN = {
    "gpx": (("metadata", ONE), ("wpt", MANY), ("rte", MANY), ("trk", MANY), ("extensions", ONE)),
    "trk": (*_LINE, ("trkseg", MANY)),
    "rte": (*_LINE, ("rtept", MANY)),
    "trkseg": (("trkpt", MANY), ("extensions", ONE)),
    **dict.fromkeys(("wpt", "rtept", "trkpt"), _POINT),
    "metadata": (
        *(("name", ONE), ("desc", ONE), ("author", ONE), ("copyright", ONE), ("link", MANY), ("time", ONE)),
        *(("keywords", ONE), ("bounds", ONE), ("extensions", ONE)),
    ),
}
ATTRIBUTES = {"gpx": {"version", "creator"}, **{name: {"lat", "lon"} for name in ("wpt", "rtept", "trkpt")}}
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_DATE_TIME = re.compile(
    r"-?\d{4,}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    r"(Z|[+-](0\d|1[0-4]):[0-5]\d)?"
)


def problems(text: bytes) -> list[str]:
    """All that the schema finds wrong with a document; [] for a valid one."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return [f"not XML: {error}"]
    if root.tag != f"{SPACE}gpx":
        return [f"the root is {root.tag}"]
    return list(_of(root, "gpx"))


def _of(element: Element, kind: str):  # type: ignore[no-untyped-def]
    yield from _of_attributes(element, kind)
    if kind == "extensions":  # anything, but of another namespace
        tags = [child.tag for child in element]
        yield from (f"extensions: holds {tag}" for tag in tags if tag.startswith(SPACE) or "}" not in tag)
        return
    if kind not in CHILDREN:
        yield from _of_text(element, kind)
        return
    texts = [element.text, *(child.tail for child in element)]
    yield from (f"{kind}: holds text {text!r}" for text in texts if text and text.strip())
    order, often = [name for name, _ in CHILDREN[kind]], dict(CHILDREN[kind])
    names = [child.tag.removeprefix(SPACE) for child in element]
    yield from (f"{kind}: holds {name}" for name in names if name not in often)
    known = [name for name in names if name in often]
    if sorted(known, key=order.index) != known:
        yield f"{kind}: its elements are not in the order of the schema"
    yield from (f"{kind}: {name} twice" for name in often if often[name] == ONE and known.count(name) > 1)
    for child, name in zip(element, names, strict=True):
        yield from _of(child, name)


def _of_attributes(element: Element, kind: str):  # type: ignore[no-untyped-def]
    needed = ATTRIBUTES.get(kind, set())
    foreign = {name for name in element.attrib if name.startswith("{http://www.w3.org/2001/XMLSchema-instance}")}
    if set(element.attrib) - foreign != needed:
        yield f"{kind}: attributes {sorted(element.attrib)}"
        return
    if kind == "gpx" and element.attrib["version"] != "1.1":
        yield f"gpx: version {element.attrib['version']}"
    if "lat" in needed:
        lat, lon = element.attrib["lat"], element.attrib["lon"]
        if not (_DECIMAL.fullmatch(lat) and -90 <= float(lat) <= 90):
            yield f"{kind}: latitude {lat}"
        if not (_DECIMAL.fullmatch(lon) and -180 <= float(lon) < 180):  # 180 itself is excluded
            yield f"{kind}: longitude {lon}"


def _of_text(element: Element, kind: str):  # type: ignore[no-untyped-def]
    if len(element) and kind not in ("link", "author", "copyright", "bounds"):
        yield f"{kind}: holds elements"
    text = (element.text or "").strip()
    if kind == "time" and not _DATE_TIME.fullmatch(text):
        yield f"time: {text!r} is no dateTime"
    if kind in ("ele", "hdop", "vdop", "pdop", "geoidheight", "ageofdgpsdata") and not _DECIMAL.fullmatch(text):
        yield f"{kind}: {text!r} is no decimal"
    if kind in ("sat", "number") and not text.isdecimal():
        yield f"{kind}: {text!r} is no number"
