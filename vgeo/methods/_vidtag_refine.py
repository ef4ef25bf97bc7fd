"""Phase II of VidTAG: tracks that are corrupted on purpose (appendix A), and the loss of Eqs. 2 to 5.

Shapes: B clips, T frames, N rows of this process, M rows of all processes, E embedding width.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.layers.ranks import gather_rows, own_rows, world_size


class Noise(NamedTuple):
    """What happens to each track of a batch."""

    collapses_B: Tensor  # bool: all its frames take the position of one
    onto_B: Tensor  # that frame
    jitter_deg: Tensor  # [B, T, 2] float64, where it does not collapse
    shift_deg: Tensor  # [B, 2] float64, in either case


def draw_noise(
    mask_BT: Tensor, collapse: float, jitter_deg: tuple[float, ...], shift_deg: float, generator: torch.Generator
) -> Noise:
    """Draw the noise of a batch of tracks; as one draw for the joined batch of all processes.

    collapse: its probability. jitter_deg: least and most of it, of either sign. shift_deg: most of it.
    """
    clips, length = mask_BT.shape

    def uniform(*shape: int) -> Tensor:
        drawn = torch.rand(world_size() * clips, *shape, generator=generator, device=generator.device)
        return own_rows(drawn).to(mask_BT.device)

    least, most = jitter_deg
    collapses_B = uniform(1)[:, 0] < collapse
    onto_B = (uniform(length) * mask_BT).argmax(1)  # the true frame that draws most: each is as likely
    size_BT2, sign_BT2 = uniform(length, 2).double(), uniform(length, 2)
    jitter_BT2 = torch.where(sign_BT2 < 0.5, -1.0, 1.0) * (least + (most - least) * size_BT2)
    shift_B2 = (2 * uniform(2).double() - 1) * shift_deg
    return Noise(collapses_B, onto_B, jitter_BT2, shift_B2)


def corrupt(latlon_deg: Tensor, noise: Noise) -> Tensor:
    """Corrupt tracks [B, T, 2] float64: collapse or jitter, then shift; latitude is clamped, longitude wraps."""
    one_B12 = latlon_deg.gather(1, noise.onto_B[:, None, None].expand(-1, 1, 2))
    moved_BT2 = torch.where(noise.collapses_B[:, None, None], one_B12, latlon_deg + noise.jitter_deg)
    lat, lon = (moved_BT2 + noise.shift_deg[:, None]).unbind(-1)
    return torch.stack([lat.clamp(-90, 90), (lon + 180) % 360 - 180], -1)


def stray(noisy_BT2: Tensor, true_BT2: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Move a share of the frames [B, T, 2] to where others of the batch (of all processes) are, as wrong cities do.

    Not in appendix A. What phase I gets wrong most is a frame here and there that jumps to another city.
    """
    places_M2 = gather_rows(true_BT2.flatten(0, 1))
    shape = (world_size() * len(true_BT2), true_BT2.shape[1])
    hit_BT, pick_BT = (
        own_rows(torch.rand(shape, generator=generator, device=generator.device)).to(true_BT2.device) for _ in range(2)
    )
    onto_BT = (pick_BT * len(places_M2)).long().clamp(max=len(places_M2) - 1)
    return torch.where((hit_BT < share)[..., None], places_M2[onto_BT], noisy_BT2)


def alignment_loss(
    refined_NE: Tensor, true_NE: Tensor, real_N: Tensor, alpha: float, beta: float, ignored_NM: Tensor | None = None
) -> Tensor:
    """Eqs. 2 to 4: squared error of the similarities G'G^T to the identity, negatives and positives weighted apart.

    refined_NE, true_NE: this process's rows, L2-normalised; similarities are to the true rows of all processes, and
    the result is this process's part of the whole loss. real_N: False on padding. ignored_NM: pairs left out of the
    negatives. The paper's means over the upper and over the lower triangle have equally many pairs: together they are
    twice the mean over all negatives.
    """
    true_ME, real_M = gather_rows(true_NE), gather_rows(real_N)
    own_N = own_rows(torch.arange(len(real_M), device=real_M.device))
    with torch.autocast(refined_NE.device.type, enabled=False):
        similar_NM = refined_NE.float() @ true_ME.float().T
    positive_NM = F.one_hot(own_N, len(real_M)).bool()
    negative_NM = real_N[:, None] & real_M[None] & ~positive_NM
    if ignored_NM is not None:
        negative_NM &= ~ignored_NM
    pairs = gather_rows(negative_NM.sum(1)).sum().clamp(min=1)
    negatives = (similar_NM.square() * negative_NM).sum() / pairs
    positives = ((similar_NM - 1).square() * (positive_NM & real_N[:, None])).sum() / real_M.sum().clamp(min=1)
    return 2 * alpha * negatives + beta * positives


def as_clips(embedded_BTE: Tensor, mask_BT: Tensor, level: Literal["frames", "mean"]) -> Tensor:
    """One vector of unit norm a clip ("organized at the video level"): [B, T E] of its frames in order, or their mean.

    Of frames in order, the similarity of two clips is the mean of that of their frames, one by one: wrong order costs.
    """
    real_BTE = embedded_BTE.float() * mask_BT[..., None]
    return F.normalize(real_BTE.flatten(1) if level == "frames" else real_BTE.sum(1), dim=-1)
