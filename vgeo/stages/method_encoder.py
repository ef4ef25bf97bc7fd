"""A method that sees frames itself, as an encoder: a row of features is what it gives for a clip.

Shapes: B clips, T frames, H x W pixels, E embedding width.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vgeo.device import Compute
from vgeo.encoders._images import resize
from vgeo.encoders.base import Encoder, EncoderSpec
from vgeo.errors import UsageError
from vgeo.methods.base import Clips
from vgeo.stages.encode import Viewing
from vgeo.stages.models import Model, load_model
from vgeo.training.data import Frames
from vgeo.training.moment_set import MomentSet
from vgeo.training.pair_store import PairStore
from vgeo.video.sampling import Sampling


def own_spec(model: Model) -> EncoderSpec:
    """What identifies the features of a model that sees frames itself: its name and its hash."""
    method = model.retriever
    windows = method.windows
    assert windows is not None and method.frame_shape is not None
    height, width = method.frame_shape
    return EncoderSpec(
        name=model.name,
        dim=method.embed_dim,
        weights="" if model.folder is None else str(model.folder),
        weights_hash=model.hash,
        preprocessing=f"{width}x{height} squash, bilinear antialias; {windows.describe()}; the model's own",
        settings={},
    )


def own_view(folder: Path, compute: Compute, viewing: Viewing) -> "tuple[MethodEncoder, Viewing]":
    """A trained model as an encoder, and how clips are looked at for it. Raises UsageError where it sees no clips."""
    model = load_model(folder)
    if model.method.gallery_kind != "tiles":
        raise UsageError(
            f"--model {folder}: a model of {model.name}, which is not one that sees clips itself, as gama does"
        )
    return MethodEncoder(model, compute), replace(viewing, sampling=own_sampling(viewing.sampling, model))


def own_sampling(sampling: Sampling, model: Model) -> Sampling:
    """Frames at the rate that a model of clips looks at. Raises UsageError where other frames are asked for."""
    if sampling != Sampling(start_s=sampling.start_s, end_s=sampling.end_s):
        raise UsageError(f"{model.name} looks at clips of its own making: choose them by --start-s and --end-s alone")
    return replace(sampling, rate_hz=model.method.rate_hz)


_AFTER = "finished videos are kept, and the same command goes on"


class MethodEncoder(Encoder):
    """Runs a Retriever's `queries` on windows of frames, which are squashed to its `frame_shape` as in training."""

    def __init__(self, model: Model, compute: Compute) -> None:
        self.spec = own_spec(model)
        self.windows = model.retriever.windows
        self._method = model.retriever.to(compute.device)
        self._compute = compute

    def shrink(self, frames_BHWC: Tensor) -> Tensor:
        """Resize: all that has to be kept of a frame until its window is full."""
        assert self._method.frame_shape is not None
        return resize(frames_BHWC.permute(0, 3, 1, 2), self._method.frame_shape, "bilinear").permute(0, 2, 3, 1)

    def pairs(self, sets: Sequence[MomentSet], frames: Frames) -> PairStore:
        """Clips of seconds whose pictures lie on disk, as this encoder sees them; nothing of them is kept."""
        return PairStore.of_method(self._method, sets, frames, None, self._compute, resident=False, after=_AFTER)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Tensor:
        """Embed clips of RGB frames, uint8, shrunken or as they were: [B, T, H, W, 3] -> [B, E] float32."""
        small_BTHWC = self.shrink(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).to(self._compute.device)
        mask_BT = torch.ones(frames.shape[:2], dtype=torch.bool, device=self._compute.device)
        with self._compute.autocast():
            queries_B1E = self._method.queries(Clips(frames_BTHWC=small_BTHWC, mask_BT=mask_BT))
        return queries_B1E[:, 0].float()
