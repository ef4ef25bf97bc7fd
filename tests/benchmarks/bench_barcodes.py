"""Wrong frames of eleven kinds of clips, against decoding everything in order: `bench_barcodes.py [--json FILE]`.

Every frame carries its number as blocks. Each way is asked for frame 0, 7, 14, ... of each clip and for all of them, by
number in the order of showing; a frame that does not come is wrong as well, a picture that lies on its side is not.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
from barcodes import CODECS, MAKERS  # noqa: E402
from clipmaker import read_number  # noqa: E402
from decoders import Way, available, named, with_decord, with_opencv, with_torchcodec, with_vgeo  # noqa: E402
from rows import Row, write_rows  # noqa: E402

KINDS = {
    "H.264 with B-frames": "plain.mp4", "open groups": "open_gop.mp4", "Matroska": "plain.mkv",
    "MPEG-TS": "open_gop.ts", "HEVC": "hevc_open_gop.mp4", "AVI": "mpeg4.avi", "VP9": "vp9.webm",
    "variable rate": "vfr.mp4", "edit list": "cut_edit_list.mp4", "turned": "turned_90.mp4",
    "cut without encoding": "cut_between_keys.mp4",
}  # fmt: skip
WAYS: dict[str, Way] = {
    "vgeo": with_vgeo, "decord": with_decord, "torchcodec": with_torchcodec, "OpenCV": with_opencv,
}  # fmt: skip
_TURNS = (0, 1, 2, 3)


def in_order(path: Path) -> list[np.ndarray]:
    """The oracle: every packet decoded in order, with what the decoder refuses left out."""
    images = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                images += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return images


def number_of(image: np.ndarray, wanted: int) -> int:
    """The number of a picture, however it is turned: `wanted`, if that can be read in any way."""
    found = [read_number(turned) for turn in _TURNS if (turned := np.rot90(image, turn)).shape[1] > turned.shape[0]]
    return wanted if wanted in found else found[0] if found else -1


def count_wrong(way: Way, path: Path, expected: Sequence[int]) -> int:
    """Of frames at a distance of 7 and of all frames."""
    wrong = 0
    for rows in (range(0, len(expected), 7), range(len(expected))):
        try:
            images = list(way(path, rows, None))
        except Exception as error:  # whatever a library raises
            print(f"  {path.name}: {str(error).strip().splitlines()[-1][:100]}")
            images = []
        pairs = list(zip(images, (expected[row] for row in rows), strict=False))
        wrong += sum(number_of(image, wanted) != wanted for image, wanted in pairs) + len(rows) - len(pairs)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    wrong: dict[str, dict[str, int]] = {name: {} for name in available(WAYS)}
    asked = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, name in KINDS.items():
            if CODECS.get(name, "libx264") not in av.codecs_available:
                print(f"{kind}: left out, this build of PyAV cannot encode it")
                continue
            path = Path(folder) / name
            MAKERS[name](path)
            expected = [read_number(image) for image in in_order(path)]
            first = expected[0]
            assert expected == list(range(first, first + len(expected))), f"{name}: the blocks are not in order"
            asked += len(expected) + len(range(0, len(expected), 7))
            for way, counts in wrong.items():
                counts[kind] = count_wrong(WAYS[way], path, expected)
            print(f"{kind:22}", *(f"{way} {counts[kind]:4d} " for way, counts in wrong.items()), flush=True)
    others = [f"{named(way)}: {_said(counts)}" for way, counts in wrong.items() if way != "vgeo"]
    row = Row(f"wrong frames of {len(wrong['vgeo'])} kinds of clips", "decoding in order", sum(wrong["vgeo"].values()),
              "= 0", "frames", f"of {asked:,}", "; ".join(others))  # fmt: skip
    print(row)
    write_rows(given.json, [row])


def _said(counts: dict[str, int]) -> str:
    bad = [kind for kind, count in counts.items() if count]
    return f"{sum(counts.values())} wrong" + (f" ({', '.join(bad)})" if bad else "")


if __name__ == "__main__":
    main()
