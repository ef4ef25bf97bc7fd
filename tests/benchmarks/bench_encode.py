"""Features of clips with a ViT-L/14: what share of the machine's rate of matrix products `precompute-features` reaches.

    python tests/benchmarks/bench_encode.py [--json FILE] [--device cuda] [--clips 2] [--seconds 24] [--model NAME]

The encoder is CLIP's, of random weights. Its rate is counted in FLOPs of its matrix products and attention (162 G an
image), the machine's is that of large products in the same type, measured in the same run. From clips: the whole
stage, 720p H.264 at one frame a second, decoding and the feature file included. In memory: the encoder on the same
frames, decoded and cut into the same batches, with preprocessing.
"""

import argparse
import contextlib
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from rows import Row, write_rows
from timing import interleaved
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clipmaker import make_video

from vgeo.device import Compute, choose
from vgeo.encoders import clip as family
from vgeo.encoders._images import CLIP, Preprocessing
from vgeo.encoders._vision import VisionEncoder
from vgeo.encoders.base import EncoderSpec
from vgeo.stages.precompute_features import precompute_features
from vgeo.video.decode import Video
from vgeo.video.pixels import Shape
from vgeo.video.sampling import Sampling

SIZE, GOAL = (1280, 720), ">= 84"
BATCH = 24  # frames of 720p, which is what the stage's bound on bytes lets through


def random_encoder(repository: str, compute: Compute) -> VisionEncoder:
    """CLIP's vision half as `load` makes it, with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    shape = family.SHAPES[repository]
    torch.manual_seed(0)
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**shape)).requires_grad_(False).eval()
    spec = EncoderSpec(name="clip", dim=shape["projection_dim"], weights="random", weights_hash="0" * 16,
                       preprocessing="", settings={})  # fmt: skip
    preprocessing = Preprocessing(size=shape["image_size"], crop="center", mean_std=CLIP)
    return VisionEncoder(spec, model, family._embed, preprocessing, compute)


def image_flops(encoder: VisionEncoder, device: torch.device) -> float:
    """FLOPs of one image."""
    with FlopCounterMode(display=False) as counted:
        encoder(torch.zeros(1, 224, 224, 3, dtype=torch.uint8, device=device))
    return float(counted.get_total_flops())


class Product:
    """Matrix products, and their FLOPs: on a CPU of a size that its cache holds, which is where they are fastest."""

    def __init__(self, compute: Compute) -> None:
        side = 8192 if compute.device.type == "cuda" else 2048
        self.a, self.b = (torch.randn(side, side, device=compute.device).to(compute.dtype) for _ in range(2))
        self.flops = 2.0 * side**3 * 30
        self.wait = torch.cuda.synchronize if compute.device.type == "cuda" else lambda: None

    def __call__(self) -> None:
        for _ in range(30):
            torch.nn.functional.linear(self.a, self.b)
        self.wait()


@contextlib.contextmanager
def stands_for_clip(encoder: VisionEncoder) -> Iterator[None]:
    """Let the stage load this encoder."""
    with mock.patch("vgeo.encoders.load", lambda *_, **__: encoder):
        yield


def measure(given: argparse.Namespace, folder: Path) -> list[Row]:
    compute = choose(given.device)
    clips = [folder / f"{number}.mp4" for number in range(given.clips)]
    make_video(clips[0], size=SIZE, rate=30, frames=30 * given.seconds, options={"g": "30"})
    for path in clips[1:]:
        shutil.copyfile(clips[0], path)
    encoder, product = random_encoder(given.model, compute), Product(compute)
    sampling = Sampling(rate_hz=1)
    images = given.clips * given.seconds
    frames = torch.from_numpy(np.stack([image for path in clips for image in decoded(path, sampling)]))

    def in_memory() -> None:
        found = [encoder(frames[begin : begin + BATCH]) for begin in range(0, len(frames), BATCH)]
        torch.cat(found).cpu()

    def from_clips() -> None:
        out = folder / "features.h5"
        with stands_for_clip(encoder):
            outcomes = precompute_features(clips, out, ["clip"], sampling=sampling, compute=compute, overwrite=True)
        assert sum(outcome.frames for outcome in outcomes) == images == len(frames), outcomes
        out.unlink()

    ways = {
        "product": product,
        "in memory": in_memory,
        "from clips": from_clips,
        "decoding": lambda: [len(decoded(path, sampling)) for path in clips],
    }
    found = interleaved(ways, given.rounds)
    flops = image_flops(encoder, compute.device)
    return rows(given, compute, found, images, flops, product.flops)


def decoded(path: Path, sampling: Sampling) -> list[np.ndarray]:
    """The wanted frames, at full size."""
    video = Video(path)
    wanted = sampling.rows(video.table.time_s, video.table.duration_s)
    return [image for _, image in video.images(wanted.tolist(), Shape())]


def rows(
    given: argparse.Namespace, compute: Compute, found: dict[str, float], images: int, flops: float, product: float
) -> list[Row]:
    limit = product / found["product"]
    kind = "bf16" if compute.mixed else "fp32"
    name = "ViT-L/14" if given.model == family.REPOSITORY else given.model
    against = f"the machine's {kind} product, {limit / 1e9:,.0f} GFLOP/s"
    made = []
    for way, what in (
        ("from clips", "precompute-features on 720p clips, decoding included"),
        ("in memory", "frames in memory"),
    ):
        rate = images / found[way]
        made.append(Row(f"features with a {name}, {what}", against, 100 * rate * flops / limit, GOAL, "%",
                        f"{rate:.3g} of {limit / flops:.3g} images/s"))  # fmt: skip
    made.append(
        Row(f"features with a {name}, what decoding adds", "the same frames in memory",
            found["from clips"] / found["in memory"], "<= 1.05", "×",
            f"{found['from clips']:.3g} s, {found['in memory']:.3g} s; decoding alone {found['decoding']:.3g} s",
            "opening files, hashing, the store and ends of clips that fill no batch are in it")
    )  # fmt: skip
    for row in made:
        print(f"{row.step}: {row.value:.3g} {row.unit} ({row.figures}; {row.against})")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", default=family.REPOSITORY, choices=sorted(family.SHAPES))
    given = parser.parse_args()
    logging.disable(logging.INFO)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        write_rows(given.json, measure(given, Path(folder)))
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
