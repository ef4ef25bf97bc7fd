"""Start-up: `--help` of each command, completion, and `localize` up to where the model runs.

    python tests/benchmarks/bench_startup.py [--json FILE] [--rounds 7]

Each against a bare Python that does nothing, or that imports torch, in interleaved runs of whole processes. `localize`
is stopped where its model is first called, and has then read the clip, the model's folder and its gallery.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rows import Row, write_rows
from timing import interleaved

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

VGEO = Path(sys.executable).with_name("vgeo")
# Ends the process where the method is first asked for queries: what comes before it is start-up.
STOPPED = """
import os, sys
from vgeo.methods.{method} import {cls}
{cls}.queries = lambda *_: os._exit(42)
from vgeo import cli
sys.exit(cli.run(sys.argv[1:]))
"""


def process(*command: str | Path, code: int = 0, env: dict[str, str] | None = None) -> Callable[[], None]:
    """A run of a whole process, which must end with this code."""

    def job() -> None:
        ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env={**os.environ, **(env or {})})  # fmt: skip
        if ended.returncode != code:
            raise RuntimeError(f"{command}: {ended.returncode}: {ended.stderr.decode()[-500:]}")

    return job


def bench_help(rounds: int) -> list[Row]:
    """`--help` of every command, and completion of a word, against `python -c pass`."""
    from vgeo.cli import COMMANDS

    names = [name for panel in COMMANDS.values() for name in panel]
    completing = {"_VGEO_COMPLETE": "complete_bash", "COMP_WORDS": "vgeo localize --mod", "COMP_CWORD": "2"}
    ways = {"python -c pass": process(sys.executable, "-c", "pass"), "vgeo --help": process(VGEO, "--help")}
    ways |= {f"vgeo {name} --help": process(VGEO, name, "--help") for name in names}
    ways["completion of an option"] = process(VGEO, env=completing)
    found = interleaved(ways, rounds)
    bare = found.pop("python -c pass")
    done = {name: Row(f"`{name}`" if "help" in name else name, "python -c pass", took / bare,
                      "<= 13" if "help" in name else "<= 6.5", "×", f"{1e3 * took:.0f} ms, {1e3 * bare:.1f} ms")
            for name, took in found.items()}  # fmt: skip
    helps = sorted((row for name, row in done.items() if "help" in name), key=lambda row: row.value)
    slow = [row for row in helps if not row.reached]
    slowest = helps[-1]
    said = (
        f"the slowest of {len(helps)}, {slowest.step}: {slowest.figures}; median {helps[len(helps) // 2].value:.2g} ×"
    )
    note = f"{len(slow)} of {len(helps)} are above" if slow else ""
    one = Row("`--help` of each command", slowest.against, slowest.value, slowest.goal, "×", said, note)
    return [one, done["completion of an option"]]


def made(folder: Path) -> tuple[Path, Path]:
    """A clip, and a model folder of GeoCLIP over gist, with its gallery."""
    import numpy as np
    import torch
    from clipmaker import make_video

    from vgeo import encoders
    from vgeo.device import Compute
    from vgeo.formats.checkpoints import save_model
    from vgeo.formats.gallery import Gallery, write_gallery
    from vgeo.methods.geoclip import GeoClip, GeoClipConfig
    from vgeo.methods.settings import to_dict

    spec = encoders.load("gist", Compute(torch.device("cpu"), torch.float32)).spec
    method = GeoClip(GeoClipConfig(init="scratch", encoder="gist", feature_dim=spec.dim))
    gallery = Gallery(latlon_deg=np.random.default_rng(0).uniform([-60, -180], [60, 180], (1000, 2)))
    save_model(folder / "model", method="geoclip", config=to_dict(method.config), encoders={"gist": spec},
               state=method.state_dict(), write_more=lambda to: write_gallery(to / "gallery.h5", gallery))  # fmt: skip
    return make_video(folder / "clip.mp4", frames=150), folder / "model"


def bench_localize(rounds: int, folder: Path) -> Row:
    """`vgeo localize` of one clip with GeoCLIP over gist, against `python -c 'import torch'`."""
    clip, model = made(folder)
    script = folder / "stopped.py"
    script.write_text(STOPPED.format(method="geoclip", cls="GeoClip"))
    command = [sys.executable, script, "localize", clip, "--model", model, "--offline", "--no-places"]
    found = interleaved({"torch": process(sys.executable, "-c", "import torch"),
                         "vgeo": process(*command, code=42)}, rounds)  # fmt: skip
    return Row("`localize` of a clip, until the model runs", "python -c 'import torch'", found["vgeo"] / found["torch"],
               "<= 1.3", "×", f"{1e3 * found['vgeo']:.0f} ms, {1e3 * found['torch']:.0f} ms")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    rows = bench_help(given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        rows.append(bench_localize(given.rounds, Path(folder)))
    for row in rows:
        print(f"{row.step:60} {row.value:6.2f} x {row.against}   ({row.figures}) {row.note}")
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
