"""The weightless descriptor: colour, colour histogram and oriented energy on a grid, so that everything runs offline.

In the spirit of Im2GPS (Hays & Efros, CVPR 2008, sec. 3), which compared photographs by a tiny colour image, a joint
Lab histogram and the gist descriptor (Oliva & Torralba, IJCV 2001: energy of oriented filters, averaged over a 4 x 4
grid, after local contrast normalisation). The sizes here are smaller than theirs, so that a descriptor has a few
hundred numbers; texton and line features are left out. Histogram and energies enter by their square roots (Hellinger),
which makes the cosine a fair comparison of counts. The three blocks weigh the same.

Always computed on one core of the CPU in float32: the same numbers everywhere, 200 frames a second and more, and the
other cores are left to decoding, which is slower.

Shapes: B frames, C Lab channels, S working size, F filters, K grid cells a side.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgeo.encoders._images import resize
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton
from vgeo.errors import UsageError

if TYPE_CHECKING:
    from vgeo.device import Compute

AT_A_TIME = 4  # frames: what is made of each on the way takes a megabyte and more, and leaves holes in the heap
SIZE = 64  # working resolution, the whole frame squashed
PAD = 8  # mirrored border, so that the Fourier transform sees no edge where the frame ends
TINY = 8  # tiny image, 8 x 8 (Im2GPS: 16 x 16)
BINS = (4, 6, 6)  # of L, a, b (Im2GPS: 4, 14, 14)
GRID = 4  # gist: 4 x 4
SCALES = (0.30, 0.16, 0.085)  # centre frequencies in cycles a pixel, an octave apart
ORIENTATIONS = 6
DIM = 3 * TINY**2 + math.prod(BINS) + len(SCALES) * ORIENTATIONS * GRID**2


class Gist(Encoder):
    """Tiny image (192), Lab histogram (144) and oriented energies (288), each of unit length, together too."""

    def __init__(self, device: torch.device) -> None:
        self.spec = EncoderSpec(
            name="gist",
            dim=DIM,
            weights="none",
            weights_hash="none",
            preprocessing=f"{SIZE}x{SIZE} squash bilinear; tiny {TINY}x{TINY} Lab, histogram {BINS}, "
            f"{len(SCALES)}x{ORIENTATIONS} energies on {GRID}x{GRID}; L2",
            settings={},
        )
        self._device = device
        self._filters_FSS = _oriented_filters(SIZE + 2 * PAD)
        self._lowpass_SS = _gaussian_lowpass(SIZE + 2 * PAD, cutoff=4 / SIZE)

    @torch.inference_mode()
    def __call__(self, frames_BHWC: Tensor) -> Tensor:
        """Describe RGB frames, uint8: [B, H, W, 3] -> [B, 624] float32."""
        with _one_thread():
            few = frames_BHWC.split(AT_A_TIME)
            return torch.cat([self._describe(frames) for frames in few]).to(self._device)

    def _describe(self, frames_BHWC: Tensor) -> Tensor:
        small_BCSS = resize(frames_BHWC.cpu().permute(0, 3, 1, 2), (SIZE, SIZE), "bilinear").float() / 255
        lab_BCSS = _lab(small_BCSS)
        blocks = (self._tiny(lab_BCSS), self._histogram(lab_BCSS), self._energies(lab_BCSS[:, 0]))
        unit = [functional.normalize(block.flatten(1), dim=1) for block in blocks]
        return functional.normalize(torch.cat(unit, dim=1), dim=1)

    def _tiny(self, lab_BCSS: Tensor) -> Tensor:
        """Lab image without its mean: what is brighter or bluer than the rest, not how bright the day is."""
        tiny = functional.adaptive_avg_pool2d(lab_BCSS, TINY)
        return tiny - tiny.mean(dim=(2, 3), keepdim=True)

    def _histogram(self, lab_BCSS: Tensor) -> Tensor:
        """Joint Lab histogram; each pixel is shared linearly by the two nearest bins of each channel."""
        shares = [_soft_bins(lab_BCSS[:, channel].flatten(1), bins) for channel, bins in enumerate(BINS)]
        return torch.einsum("bpi,bpj,bpk->bijk", *shares).sqrt()

    def _energies(self, light_BSS: Tensor) -> Tensor:
        """Amplitude of each oriented filter, averaged over the cells of the grid; without the mean all frames share."""
        padded = functional.pad(light_BSS[:, None], (PAD,) * 4, mode="reflect")[:, 0]
        padded = padded - self._smooth(padded)
        padded = padded / (0.05 + self._smooth(padded.square()).clamp(min=0).sqrt())  # local contrast
        spectrum_BSS = torch.fft.fft2(padded)
        amplitude_BFSS = torch.fft.ifft2(spectrum_BSS[:, None] * self._filters_FSS).abs()
        inner = amplitude_BFSS[..., PAD:-PAD, PAD:-PAD]
        energies = functional.avg_pool2d(inner, SIZE // GRID).sqrt()
        return energies - energies.mean(dim=(1, 2, 3), keepdim=True)

    def _smooth(self, image_BSS: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(image_BSS) * self._lowpass_SS, s=image_BSS.shape[-2:])


def load(variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool) -> Encoder:
    """Return the descriptor; it has no variants, weights or settings. Raises UsageError for any of them."""
    if variant or weights or settings:
        raise UsageError("gist has no variants, weights or settings; use plain '--encoder gist'")
    return Gist(compute.device)


def skeleton(variant: str) -> Skeleton:
    """Nothing to count: there is no network. Raises UsageError for a variant."""
    if variant:
        raise UsageError("gist has no variants; use plain 'gist'")

    def read(_model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
        return pixels_BCHW.new_zeros(len(pixels_BCHW), DIM)

    return Skeleton(model=nn.Identity(), read=read, size=SIZE, note="no network; its filters are not counted")


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lab(rgb_BCSS: Tensor) -> Tensor:
    """CIE Lab of sRGB in [0, 1] (IEC 61966-2-1, D65), each channel scaled to about [0, 1] (L) and [-1, 1] (a, b)."""
    linear = torch.where(rgb_BCSS <= 0.04045, rgb_BCSS / 12.92, ((rgb_BCSS + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    white = torch.tensor([0.95047, 1.0, 1.08883])
    xyz = torch.einsum("wc,bchs->bwhs", matrix / white[:, None], linear)
    root = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], dim=1)


def _soft_bins(values_BP: Tensor, bins: int) -> Tensor:
    """Share each value among `bins` bins [B, P, bins]: L covers [0, 1], a and b the [-0.4, 0.4] of street scenes."""
    low, high = (0.0, 1.0) if bins == BINS[0] else (-0.4, 0.4)
    place = ((values_BP - low) / (high - low) * (bins - 1)).clamp(0, bins - 1)
    return (1 - (place[..., None] - torch.arange(bins)).abs()).clamp(min=0)


def _oriented_filters(size: int) -> Tensor:
    """Log-Gabor filters over one half plane of frequencies [F, size, size]: the response's modulus is its envelope."""
    v, u = torch.meshgrid(torch.fft.fftfreq(size), torch.fft.fftfreq(size), indexing="ij")
    radius, angle = torch.hypot(u, v).clamp(min=1e-6), torch.atan2(v, u)
    filters = []
    for centre in SCALES:
        radial = torch.exp(-(torch.log(radius / centre) ** 2) / (2 * math.log(1.6) ** 2))
        radial[0, 0] = 0
        for step in range(ORIENTATIONS):
            turn = torch.remainder(angle - step * math.pi / ORIENTATIONS + math.pi, 2 * math.pi) - math.pi
            filters.append(radial * torch.exp(-(turn**2) / (2 * (math.pi / ORIENTATIONS / 1.5) ** 2)))
    return torch.stack(filters)


def _gaussian_lowpass(size: int, cutoff: float) -> Tensor:
    """Transfer function of a Gaussian blur for `rfft2` of a square image."""
    u, v = torch.fft.rfftfreq(size)[None, :], torch.fft.fftfreq(size)[:, None]
    return torch.exp(-(u**2 + v**2) / (2 * cutoff**2))
