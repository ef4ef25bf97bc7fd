"""XML from strangers (no document type, no entities, no bottomless nesting), and text that goes into XML."""

import re
from xml.etree import ElementTree
from xml.parsers import expat
from xml.sax.saxutils import escape

from vgeo.errors import FormatError

_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
DEEPEST = 100  # GPX and KML files nest less than 20 levels


def check_xml(text: str, where: str, root: str) -> None:
    """Raise FormatError unless `text` is well-formed XML of that root, with no document type and of sane depth."""
    depth = 0

    def enter(name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth
        if depth == 0 and name.rpartition(":")[2] != root:
            raise FormatError(f"{where}: not {root.upper()}, but XML that begins with <{name[:40]}>")
        depth += 1
        if depth > DEEPEST:
            raise FormatError(f"{where}: nested too deeply to be data of this kind")

    def leave(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        raise FormatError(f"{where}: declares a document type, which may hide entities; remove the <!DOCTYPE>")

    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = enter
    parser.EndElementHandler = leave
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise FormatError(f"{where}: not XML ({error})") from error


def parse_xml(text: str, where: str, root: str) -> ElementTree.Element:
    """Parse checked XML and return its root. Raises FormatError."""
    check_xml(text, where, root)
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError(f"{where}: not XML ({error})") from error


def local_name(element: ElementTree.Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def escaped(text: str) -> str:
    """Text as XML content or attribute; characters that XML cannot hold become question marks."""
    return escape(_UNWRITABLE.sub("?", text), {'"': "&quot;", "\r": "&#13;"})  # bare, it is read as a line feed
