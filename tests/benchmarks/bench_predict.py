"""Everything after the image tower for a clip of 40 s: vgeo against the loop of the package geoclip.

40 frames of CLIP features are localized in the package's gallery of 100,000 places. The package embeds its gallery for
every image, vgeo once for a model: the first run does, later ones read the keys from the cache. `--images` of the
package's are timed and taken for all 40.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rows import Row, write_rows
from torch import nn

from vgeo.device import Compute
from vgeo.formats.gallery import read_gallery
from vgeo.stages.localizer import ClipQuery, Localizer
from vgeo.stages.models import load_model

FRAMES, TOP = 40, 5
COMPUTE = Compute(torch.device("cpu"), torch.float32)


def package_predict() -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """The package's predict, given what its image tower says of an image [1, 768]."""
    import geoclip
    from geoclip.model.GeoCLIP import GeoCLIP
    from geoclip.model.misc import load_gps_data

    folder = Path(geoclip.__file__).parent / "model"

    class WithoutTower(GeoCLIP):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.image_encoder = nn.Sequential(nn.Linear(768, 768), nn.ReLU(), nn.Linear(768, 512))
            weights = {
                part: torch.load(folder / "weights" / f"{part}_weights.pth", map_location="cpu", weights_only=True)
                for part in ("image_encoder_mlp", "logit_scale")
            }
            self.image_encoder.load_state_dict(weights["image_encoder_mlp"])
            self.logit_scale = nn.Parameter(weights["logit_scale"])
            self.location_encoder = geoclip.LocationEncoder()
            self.gps_gallery = load_gps_data(str(folder / "gps_gallery" / "coordinates_100K.csv"))

    model = WithoutTower().eval()

    @torch.no_grad()
    def predict(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        probability = model(features, model.gps_gallery).softmax(dim=-1)
        top = torch.topk(probability, TOP, dim=1)
        return model.gps_gallery[top.indices[0]], top.values[0]

    return predict


def localize(features: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds from the model's and the gallery's being read to the answers, and these [T, K, 2]."""
    model = load_model("geoclip")
    assert model.gallery is not None
    gallery = read_gallery(model.gallery)
    start = time.perf_counter()
    localizer = Localizer(model, gallery, COMPUTE, top_k=TOP)
    clip = ClipQuery(video_id="clip", source="clip.mp4", features={"clip": features}, time_s=np.arange(FRAMES) * 1.0)
    found = localizer(clip)
    return time.perf_counter() - start, found.candidates_deg


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    features = torch.randn(FRAMES, 768, generator=torch.Generator().manual_seed(0)).half().float()
    predict = package_predict()
    theirs, ours, same = [], [], 0
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        first_s, found = localize(features.numpy())
        for turn in range(given.images):
            start = time.perf_counter()
            places, _ = predict(features[turn : turn + 1])
            theirs.append(FRAMES * (time.perf_counter() - start))
            same += bool(np.abs(places[0].double().numpy() - found[turn, 0]).max() < 1e-4)
        for _ in range(given.rounds):
            seconds, _ = localize(features.numpy())
            ours.append(seconds)
    package_s, later_s = float(np.median(theirs)), float(np.median(ours))
    said = f"the same best place for {same} of {given.images} images"
    against = f"geoclip's predict loop ({given.images} of {FRAMES} images timed)"
    step = "a 40 s clip after the image tower, 100 k gallery"
    rows = [
        Row(f"{step}, keys cached", against, package_s / later_s, ">= 50",
            figures=f"{later_s:.2f} s, {package_s:.0f} s", note=f"reading the keys included; {said}"),
        Row(f"{step}, first run", against, package_s / first_s, figures=f"{first_s:.1f} s, {package_s:.0f} s",
            note="the gallery is embedded once"),
    ]  # fmt: skip
    for row in rows:
        print(f"{row.value:6.1f} x {row.against}: {row.figures}; {row.note}")
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
