"""Whatever a file holds, a reader returns tracks or raises one of vgeo's own errors, in one line."""

import random
from pathlib import Path

import pytest
from track_samples import random_localizations

from vgeo.errors import VgeoError
from vgeo.formats.tracks import FORMATS, read_tracks, write_localizations

TOKENS = [
    b"NaN",
    b"1e999",
    b"9" * 20,
    b"-",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"<",
    b">",
    b"&",
    b"\x00",
    b"\xff",
    b"true",
    b",",
    b"\n",
]
TOKENS += [b"2020-13-45T99:99:99Z", b"1e18", b"inf", b"[[1,2]]"]
SRT = (
    b"1\n00:00:00,000 --> 00:00:01,000\n[latitude: 1.5] [longitude: 2.5]\n\n"
    b"2\n00:00:01,000 --> 00:00:02,000\nGPS(2,1,3)\n"
)
FRAMES = (
    b'{"video_id":"a","lat_deg":1,"lon_deg":2,"time_s":3,"frame_index":3,"timestamp_utc":"2020-01-01T00:00:00Z"}\n' * 2
)


def damaged(chance: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(found) + 1)
        end = start + chance.choice([0, 1, 1, 2, 5, 30, 300])
        kind = chance.random()
        if kind < 0.5:
            found[start:end] = chance.choice(TOKENS)
        elif kind < 0.7:
            found[start:end] = b""
        elif kind < 0.85:
            copied = chance.randrange(len(found) + 1)
            found[start:start] = found[copied : copied + chance.randint(1, 80)]
        elif start < len(found):
            found[start] = chance.randrange(256)
    return bytes(found)


@pytest.mark.parametrize("format", [*FORMATS, "srt", "jsonl"])
def test_damaged_files(tmp_path: Path, format: str) -> None:
    if format in FORMATS:
        write_localizations(tmp_path / f"whole.{format}", random_localizations(3))
        whole = (tmp_path / f"whole.{format}").read_bytes()
    else:
        whole = SRT if format == "srt" else FRAMES
    chance = random.Random(format)
    path = tmp_path / f"t.{format}"
    read = refused = 0
    for _ in range(400):
        path.write_bytes(damaged(chance, whole))
        try:
            read += bool(read_tracks(path))
        except VgeoError as error:
            refused += 1
            assert "\n" not in str(error) and error.exit_code == 65
    assert read and refused, "the damage is too small or too large to tell anything"
