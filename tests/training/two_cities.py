"""CityGuessr's heads over frozen features of real street views: Stuttgart or Singapore, of sequences never seen.

As a script: `python tests/training/two_cities.py FOLDER [--data DIR] [--seeds N] [--by sequence|session]`.

The sample of Global Streetscapes has 25 pictures of 11 sequences of Mapillary: 19 of 5 sequences in Stuttgart (9 of one
are panoramas) and 6 of 6 in Singapore. A sequence is a clip. Each in turn is held out and placed by a model of the
others, all by the commands that a user would type. Sequences of one day are mostly walks of one person with one camera,
so that a stricter way is to hold out whole days (sessions): 3 in Stuttgart, 2 in Singapore. It is an easy pair: roads
here, paths of a park there.
"""

import argparse
import csv
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from vgeo.cli import run

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
ENCODER = "torchvision:squeezenet1_0"
SETTINGS = ("input_style=caffe", "size=227")
EPOCHS = 60  # one step each: a fold has at most ten clips
COLUMNS = ("video_id", "city", "state", "country", "continent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Pictures of one walk or drive, in order."""

    video_id: str
    pictures: tuple[Path, ...]
    labels: tuple[str, str, str, str]  # city, state, country, continent
    day: str


def read_sequences(data: Path) -> list[Walk]:
    """The sequences that have pictures here, by the data set's own tables."""
    about = {row["uuid"]: row for row in _rows(data / "meta/02_metadata_common_attributes.csv")}
    places = {row["uuid"]: row for row in _rows(data / "meta/01_simplemaps.csv")}
    found: dict[str, list[Path]] = {}
    for path in sorted(data.glob("images/*.jpeg"), key=lambda path: int(about[path.stem]["sequence_index"])):
        found.setdefault(about[path.stem]["sequence_id"], []).append(path)
    made = []
    for name, pictures in sorted(found.items()):
        place, day = places[pictures[0].stem], about[pictures[0].stem]["datetime_local"][:10]
        labels = (place["city"], place["admin_name"], place["country"], place["continent"])
        made.append(Walk(video_id=name, pictures=tuple(pictures), labels=labels, day=day))
    return made


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def lay_out(sequences: Sequence[Walk]) -> None:
    """Make clips/SEQUENCE/000.jpeg and labels.csv in the current folder."""
    for one in sequences:
        folder = Path("clips", one.video_id)
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(one.pictures):
            link = folder / f"{number:03d}.jpeg"
            if not link.exists():
                link.symlink_to(picture)
    with Path("labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *((one.video_id, *one.labels) for one in sequences)])


def command(words: Sequence[str], verbose: bool) -> None:
    """Run one command; stop where it fails."""
    if verbose:
        print("$", shlex.join(["vgeo", *words]), file=sys.stderr, flush=True)
    if code := run(["-q", *words]):
        raise SystemExit(code)


def describe(sequences: Sequence[Walk], weights: Path, verbose: bool) -> None:
    """One feature file a sequence."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    for one in sequences:
        words = ["precompute-features", f"clips/{one.video_id}", "--encoder", ENCODER, "--weights", str(weights)]
        words += [*settings, "--labels", "labels.csv", "--out", f"{one.video_id}.h5"]
        if not Path(f"{one.video_id}.h5").exists():
            command(words, verbose)


def folds(sequences: Sequence[Walk], by: str) -> Iterator[tuple[list[Walk], list[Walk]]]:
    """What is learned from, and what is held out: each sequence, or each city's sequences of a day, once."""

    def group(one: Walk) -> tuple[str, str]:
        return (one.labels[0], one.day) if by == "session" else (one.video_id, "")

    for held in sorted({group(one) for one in sequences}):
        yield [one for one in sequences if group(one) != held], [one for one in sequences if group(one) == held]


def place(sequences: Sequence[Walk], by: str, seed: int, verbose: bool) -> Path:
    """Train without each fold and place it; all answers in one file."""
    answers = []
    for number, (learnt, held) in enumerate(folds(sequences, by)):
        model, out = f"models/{by}-{seed}-{number}", f"{by}-{seed}-{number}.geojson"
        words = ["train", *(f"{one.video_id}.h5" for one in learnt), "--method", "cityguessr", "--val-fraction", "0"]
        command([*words, "--epochs", str(EPOCHS), "--seed", str(seed), "--out", model, "--overwrite"], verbose)
        words = ["localize", *(f"{one.video_id}.h5" for one in held), "--model", model, "--out", out, "--overwrite"]
        command(words, verbose)
        answers.append(json.loads(Path(out).read_text()))
    joined = {**answers[0], "features": [feature for one in answers for feature in one["features"]]}
    path = Path(f"{by}-{seed}.geojson")
    path.write_text(json.dumps(joined))
    return path


def score(path: Path, verbose: bool) -> dict[str, float]:
    """Accuracies of held-out sequences in percent, and the picture beside the answers."""
    words = ["score-places", str(path), "--truth", "labels.csv", "--out", str(path.with_suffix(".json"))]
    command([*words, "--confusion", str(path.with_suffix(".png")), "--overwrite"], verbose)
    report = json.loads(path.with_suffix(".json").read_text())
    return {"clips": report["matched_clips"], "city": report["city"]["top1_percent"]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("folder", type=Path, help="where everything is written")
    options.add_argument("--data", type=Path, default=SHARED, help="folder of the data sets")
    options.add_argument("--seeds", type=int, default=3, help="trainings of each fold")
    options.add_argument("--by", choices=("sequence", "session"), default="sequence", help="what is held out")
    options.add_argument("--verbose", action="store_true", help="print the commands")
    said = options.parse_args()
    began, data = time.monotonic(), said.data.resolve()
    sequences = read_sequences(data / "global-streetscapes-sample")
    said.folder.mkdir(parents=True, exist_ok=True)
    with chdir(said.folder):
        lay_out(sequences)
        describe(sequences, data / "squeezenet-imagenet/squeezenet1_0.safetensors", said.verbose)
        for seed in range(said.seeds):
            found = score(place(sequences, said.by, seed, said.verbose), said.verbose)
            print(f"seed {seed}, by {said.by}: {found['city']:.1f} % of {found['clips']:.0f} in the right city")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
