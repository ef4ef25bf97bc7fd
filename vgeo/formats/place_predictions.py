"""Which city each clip is said to be in, from what `vgeo localize` wrote or from a table by others."""

import csv
import io
import os

from vgeo.errors import FormatError, InputError
from vgeo.formats.geojson import features
from vgeo.formats.place_labels import labels_of, video_of
from vgeo.formats.streams import parse_json, read_text
from vgeo.formats.tables import plain_name
from vgeo.formats.votes import COLUMN, from_json
from vgeo.records import LEVELS, PlaceLabels, PlaceVote, PlaceVotes


def read_votes(path: str | os.PathLike[str]) -> dict[str, PlaceVotes]:
    """Read which city each clip is said to be in: GeoJSON of `vgeo localize`, or a table with a column `city`.

    `-` is stdin. Of a table by others there are no runners-up. Raises InputError where no clip says, FormatError.
    """
    text, where = read_text(path), str(path)
    found = _of_geojson(text, where) if text.lstrip("\x1e \t\r\n")[:1] in ("{", "[") else _of_table(text, where)
    if not found:
        raise InputError(
            f"{where}: says of no clip in which city it is; localize among cities: "
            "'vgeo localize --gallery' with one of 'vgeo build-gallery cities'"
        )
    return found


def _of_geojson(text: str, where: str) -> dict[str, PlaceVotes]:
    found = {}
    for _, said in features(text, where):
        if COLUMN in said:
            video = str(said.get("video_id", ""))
            found[video] = from_json(said[COLUMN], f"{where}: clip {video}")
    return found


def _of_table(text: str, where: str) -> dict[str, PlaceVotes]:
    """A clip's first row speaks for it."""
    delimiter = max(",;\t|", key=text.split("\n", 1)[0].count)
    found: dict[str, PlaceVotes] = {}
    try:
        lines = csv.reader(io.StringIO(text), delimiter=delimiter)
        header = [plain_name(name) for name in next(lines, [])]
        for cells in lines:
            row = dict(zip(header, cells, strict=False))
            here, video = f"{where}:{lines.line_num}", video_of(row)
            if video in found or not (row.get(COLUMN) or labels_of(row).city):
                continue
            found[video] = from_json(parse_json(row[COLUMN], here), here) if row.get(COLUMN) else _said(labels_of(row))
    except csv.Error as error:
        raise FormatError(f"{where}: not a table ({error})") from error
    return found


def _said(labels: PlaceLabels) -> PlaceVotes:
    """An answer without runners-up, by those who say no more."""
    names = labels.from_level(0)
    ranking = []
    for level, name in enumerate(names):
        upwards = PlaceLabels(**dict(zip(LEVELS[level:], names[level:], strict=True)))
        ranking.append((PlaceVote(labels=upwards, share=1.0, probability=1.0),) if name else ())
    return PlaceVotes(rule="", ranking=tuple(ranking))
