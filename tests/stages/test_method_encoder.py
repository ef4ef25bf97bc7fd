"""A model's own clips look the same whether they are localized, precomputed or trained on."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vgeo.device import Compute
from vgeo.methods.gama import Gama
from vgeo.stages.method_encoder import MethodEncoder
from vgeo.stages.models import Model
from vgeo.training.frame_store import read_resized


def test_frames_are_squashed_as_in_training(tmp_path: Path) -> None:
    method = Gama(Gama.debug_config())
    model = Model(name="gama", method=method, encoders={}, hash="h", folder=None, gallery=None)
    encoder = MethodEncoder(model, Compute(torch.device("cpu"), torch.float32))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 90, 170, 3), np.uint8)
    small = encoder.shrink(torch.from_numpy(pixels)).numpy()
    for number, (picture, found) in enumerate(zip(pixels, small, strict=True)):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        assert np.array_equal(found, read_resized(tmp_path / f"{number}.png", method.frame_shape))
