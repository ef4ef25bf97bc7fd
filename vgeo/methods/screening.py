"""GAMa's screening network: the tiles that a video's clips were found on are matched with the region they lie in.

Paper: Vyas, Chen, Shah, "GAMa: Cross-view Video Geo-localization", ECCV 2022, section 4.2. Its code was published
without a licence; what is written here follows the paper and the facts that the code shows.

Idea: GAMa-Net answers each clip of a video with a small tile; many are wrong, but the right ones lie together. One
encoder sees all of them and takes the mean of what they give, another sees a region of 7 x 7 tiles from further above;
two heads bring both to one sphere. Learnt first on the true tiles, then on those that GAMa-Net predicts. The best
regions are the gallery in which GAMa-Net looks for the clips again.

Implemented: both kinds of small encoder and both lengths of table 4, both trainings, as published. Which tiles a
sequence is made of, and what fills a short one up, training/sequence_store.py says.

Shapes: B videos, T small tiles, S pixels of a tile's side, D width of a feature map, h, w its places, E embedding
width, G regions of the gallery.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.encoders._images import normalised
from vgeo.encoders._windows import Windows
from vgeo.layers.joined_norm import counting
from vgeo.layers.pairs import image_video, ntxent
from vgeo.methods._cuts import cut_out, draw_cuts, middle
from vgeo.methods._resnets import R3d18, ResNet18
from vgeo.methods._screening_config import ScreeningConfig
from vgeo.methods.base import OWN, Clips, Places, Recipe, Retriever
from vgeo.methods.gama import HALF, brought_to, head

TRUE, PREDICTED = "true", "predicted"


class Screening(Retriever):
    """Small and large aerial encoder, and their heads."""

    Config = ScreeningConfig
    title = "GAMa's screening network: which region a video's tiles lie in"
    paper = "Vyas, Chen, Shah, ECCV 2022"
    needs = "frames"
    gallery_kind = "regions"
    phases = (TRUE, PREDICTED)
    license_note = "its own weights are not used, they have no licence; ImageNet's and Kinetics-400's: torchvision's"

    config: ScreeningConfig

    def __init__(self, config: ScreeningConfig) -> None:
        super().__init__(config)
        c = config
        self.small = ResNet18(c.width, c.aerial_stem) if c.small == "2d" else R3d18(c.width, c.small_dropout)
        self.region = ResNet18(c.width, c.aerial_stem)
        self.small_head, self.region_head = head(c.feature_dim, c.embed_dim), head(c.feature_dim, c.embed_dim)

    @property
    def encoders(self) -> tuple[str, ...]:
        return ()

    @property
    def frame_shape(self) -> tuple[int, int]:
        return self.config.tile_px, self.config.tile_px

    @property
    def windows(self) -> Windows:
        return Windows(length=self.config.sequence, rule="uniform")

    @property
    def embed_dim(self) -> int:
        return self.config.embed_dim

    @property
    def scale(self) -> float:
        return 1 / self.config.temperature

    def queries(self, clips: Clips) -> Tensor:
        if clips.frames_BTHWC is None:
            return F.normalize(clips.features[OWN].float(), dim=-1)
        return self._embed_sequences(middle(self._sequence(clips.frames_BTHWC), self._crop), clips.mask_BT)[:, None]

    def keys(self, places: Places) -> Tensor:
        if places.tiles_GSSC is None:
            raise ValueError("keys are made of pictures of regions")
        return self._embed_regions(middle(brought_to(places.tiles_GSSC, self.config.tile_px), self._crop))

    def recipe(self, phase: str) -> Recipe:
        c = self.config
        first = phase == TRUE
        return Recipe(
            epochs=c.epochs if first else c.predicted_epochs,
            batch_clips=c.batch_clips,
            clip_frames=c.sequence,
            learning_rate=c.learning_rate,
            decay_per_epoch=1.0,
            milestones=c.milestones if first else c.predicted_milestones,
            warmup_steps=0,
            weight_decay=c.weight_decay,
            sequence="true" if first else "predicted",
        )

    def loss(self, clips: Clips, phase: str, generator: torch.Generator) -> dict[str, Tensor]:
        """Contrastive loss of sequences and their regions, over all pairs of the batch."""
        if clips.frames_BTHWC is None or clips.tiles_BSSC is None:
            raise ValueError("training needs small tiles and regions")
        c, real_B, (videos, length) = self.config, clips.mask_BT.any(1), clips.mask_BT.shape
        room = (c.tile_px - c.tile_crop_px,) * 2
        device = clips.frames_BTHWC.device
        small = draw_cuts(videos * length, room, generator, device, c.augment, turn=True)  # each tile its own
        large = draw_cuts(videos, room, generator, device, c.augment, turn=True)
        pieces_NSSC = cut_out(self._sequence(clips.frames_BTHWC).flatten(0, 1)[:, None], small, self._crop)[:, 0]
        regions_BSSC = cut_out(brought_to(clips.tiles_BSSC, c.tile_px)[:, None], large, self._crop)[:, 0]
        with counting(self.small, real_B.repeat_interleave(length) if c.small == "2d" else real_B):
            small_BE = self._embed_sequences(pieces_NSSC.unflatten(0, (videos, length)), clips.mask_BT)
        with counting(self.region, real_B):
            region_BE = self._embed_regions(regions_BSSC)
        contrast = ntxent if c.loss == "ntxent" else image_video
        return {"total": contrast(small_BE, region_BE, real_B, c.temperature)}

    @property
    def _crop(self) -> tuple[int, int]:
        return self.config.tile_crop_px, self.config.tile_crop_px

    def _sequence(self, tiles_BTSSC: Tensor) -> Tensor:
        """Tiles of any size, at that which is cut from."""
        return brought_to(tiles_BTSSC.flatten(0, 1), self.config.tile_px).unflatten(0, tiles_BTSSC.shape[:2])

    def _embed_sequences(self, tiles_BTSSC: Tensor, mask_BT: Tensor) -> Tensor:
        pixels_BTCSS = normalised(tiles_BTSSC.permute(0, 1, 4, 2, 3), HALF)
        if self.config.small == "3d":
            feature_BD = self.small(pixels_BTCSS.transpose(1, 2)).flatten(2).mean(-1)
        else:
            each = self.small(pixels_BTCSS.flatten(0, 1)).flatten(2).mean(-1).unflatten(0, mask_BT.shape)
            feature_BD = (each * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True).clamp(min=1)
        return F.normalize(self.small_head(feature_BD).float(), dim=-1)

    def _embed_regions(self, regions_GSSC: Tensor) -> Tensor:
        map_GDhw = self.region(normalised(regions_GSSC.permute(0, 3, 1, 2), HALF))
        return F.normalize(self.region_head(map_GDhw.flatten(2).mean(-1)).float(), dim=-1)

    @classmethod
    def debug_config(cls) -> ScreeningConfig:
        return ScreeningConfig(
            init="scratch", sequence=3, width=4, embed_dim=16, tile_px=40, tile_crop_px=36, epochs=2,
            predicted_epochs=2, batch_clips=4, learning_rate=3e-3,
        )  # fmt: skip


METHOD = Screening
