"""GAMa-Net: half a second of driving is matched with the aerial tile of its place.

Paper: Vyas, Chen, Shah, "GAMa: Cross-view Video Geo-localization", ECCV 2022. Its code was published without a licence;
what is written here follows the paper and the facts that the code shows.

Idea: a 3D-ResNet-18 sees eight frames, a ResNet-18 the tile; a small transformer looks at the tile's tokens; two heads
bring both to one sphere, on which a contrastive loss pulls a clip and its tile together, away from all other clips and
tiles of the batch, among them a clip and a tile of the same video.

Implemented: the model as published, down to its accidents (the aerial encoder's stem of stride 1, its three shortcuts
that start from random weights, no positional encoding), and repaired; the transformer on either side; the published
loss, Eq. 1 as printed, and margin triplets; hard negatives, augmentations, centring. All rows of tables 3 and 6 but
those of other papers and of the hierarchical search (stages/hierarchy.py) are settings: see _gama_config.py.

Guessed where paper and code are silent: the video's transformer looks at all places of the last map (98 for a clip);
positions, where they are asked for, are sinusoids; the image baseline's ResNet-18 is torchvision's.

Shapes: B clips, T frames, H x W pixels, S pixels of a tile's side, D width of a feature map, h, w, t its places, E
embedding width, G gallery entries.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vgeo.encoders._images import normalised
from vgeo.encoders._windows import Windows
from vgeo.layers.joined_norm import counting
from vgeo.layers.pairs import image_video, margin_triplet, ntxent
from vgeo.layers.sequence import sinusoids
from vgeo.methods._cuts import cut_out, draw_cuts, middle
from vgeo.methods._gama_config import GamaConfig
from vgeo.methods._resnets import R3d18, ResNet18
from vgeo.methods.base import OWN, Clips, Pairing, Places, Recipe, Retriever

PHASE = "contrastive"
CLIP_FRAMES = 8  # "8 frame clip", 4.1
RATE_HZ = 15.0  # "skip-rate of one frame" (4.1) of 30 a second
HALF = ((0.5,) * 3, (0.5,) * 3)  # mean and deviation; code


class Gama(Retriever):
    """Ground and aerial encoder, transformer, heads."""

    Config = GamaConfig
    title = "GAMa-Net: cross-view video geo-localization"
    paper = "Vyas, Chen, Shah, ECCV 2022"
    needs = "frames"
    gallery_kind = "tiles"
    phases = (PHASE,)
    license_note = "its own weights are not used, they have no licence; ImageNet's and Kinetics-400's: torchvision's"

    config: GamaConfig

    def __init__(self, config: GamaConfig) -> None:
        super().__init__(config)
        c = config
        self.ground = R3d18(c.width, c.ground_dropout) if c.ground == "video" else ResNet18(c.width, "torchvision")
        self.aerial = ResNet18(c.width, c.aerial_stem)
        self.ground_transformer = _transformer(c) if c.transformer in ("video", "both") else None
        self.aerial_transformer = _transformer(c) if c.transformer in ("aerial", "both") else None
        self.ground_head, self.aerial_head = head(c.feature_dim, c.embed_dim), head(c.feature_dim, c.embed_dim)

    @property
    def encoders(self) -> tuple[str, ...]:
        return ()

    @property
    def frame_shape(self) -> tuple[int, int]:
        return self.config.frame_px[0], self.config.frame_px[1]

    @property
    def windows(self) -> Windows:
        return Windows(length=CLIP_FRAMES, rule="seconds", rate_hz=RATE_HZ)

    @property
    def rate_hz(self) -> float:
        return RATE_HZ

    @property
    def embed_dim(self) -> int:
        return self.config.embed_dim

    @property
    def scale(self) -> float:
        return 1 / self.config.temperature

    def queries(self, clips: Clips) -> Tensor:
        if clips.frames_BTHWC is None:
            return F.normalize(clips.features[OWN].float(), dim=-1)
        return self._embed_clips(middle(clips.frames_BTHWC, self._crop))[:, None]

    def keys(self, places: Places) -> Tensor:
        if places.tiles_GSSC is None:
            raise ValueError("keys are made of tiles")
        side = self.config.tile_crop_px
        return self._embed_tiles(middle(brought_to(places.tiles_GSSC, self.config.tile_px), (side, side)))

    def recipe(self, phase: str) -> Recipe:
        c = self.config
        return Recipe(
            epochs=c.epochs,
            batch_clips=c.batch_clips,
            clip_frames=CLIP_FRAMES,
            learning_rate=c.learning_rate,
            decay_per_epoch=1.0,
            milestones=c.milestones,  # the code's epochs count from 1, and its rate falls after them
            warmup_steps=0,
            weight_decay=c.weight_decay,
            windows=self.windows,
            pairing=Pairing(early_s=c.early_s, another=c.hard_negative),
        )

    def loss(self, clips: Clips, phase: str, generator: torch.Generator) -> dict[str, Tensor]:
        """Contrastive loss of clips and their tiles, over all pairs of the batch."""
        if clips.frames_BTHWC is None or clips.tiles_BSSC is None:
            raise ValueError("training needs frames and tiles")
        c, real_B = self.config, clips.mask_BT.any(1)
        frames, tiles_B1SSC = clips.frames_BTHWC, brought_to(clips.tiles_BSSC, c.tile_px)[:, None]
        room = frames.shape[2] - c.crop_px[0], frames.shape[3] - c.crop_px[1]
        ground = draw_cuts(len(frames), room, generator, frames.device, c.augment, turn=False)
        side, slack = c.tile_crop_px, c.tile_px - c.tile_crop_px
        aerial = draw_cuts(len(frames), (slack, slack), generator, frames.device, c.augment, turn=True)
        with counting(self, real_B):
            clip_BE = self._embed_clips(cut_out(frames, ground, self._crop))
            tile_BE = self._embed_tiles(cut_out(tiles_B1SSC, aerial, (side, side))[:, 0])
        if c.loss == "triplet":
            return {"total": margin_triplet(clip_BE, tile_BE, real_B, c.margin)}
        contrast = ntxent if c.loss == "ntxent" else image_video
        return {"total": contrast(clip_BE, tile_BE, real_B, c.temperature)}

    @property
    def _crop(self) -> tuple[int, int]:
        return self.config.crop_px[0], self.config.crop_px[1]

    def _embed_clips(self, frames_BTHWC: Tensor) -> Tensor:
        if self.config.ground == "image":
            pixels = normalised(frames_BTHWC[:, frames_BTHWC.shape[1] // 2].permute(0, 3, 1, 2), HALF)
        else:
            pixels = normalised(frames_BTHWC.permute(0, 1, 4, 2, 3), HALF).transpose(1, 2)
        return self._embed(self.ground(pixels), self.ground_transformer, self.ground_head)

    def _embed_tiles(self, tiles_GSSC: Tensor) -> Tensor:
        map_GDhw = self.aerial(normalised(tiles_GSSC.permute(0, 3, 1, 2), HALF))
        if self.aerial_transformer is not None:
            map_GDhw = F.adaptive_avg_pool2d(map_GDhw, self.config.tokens)
        return self._embed(map_GDhw, self.aerial_transformer, self.aerial_head)

    def _embed(self, map_BDx: Tensor, transformer: nn.Module | None, to_sphere: nn.Module) -> Tensor:
        """The mean of a map's places, or of what the transformer makes of them, through the head: [B, E]."""
        tokens_BKD = map_BDx.flatten(2).transpose(1, 2)
        if transformer is not None:
            if self.config.positions:
                places_K = torch.arange(tokens_BKD.shape[1], device=tokens_BKD.device)
                tokens_BKD = tokens_BKD + sinusoids(places_K, self.config.feature_dim)
            tokens_BKD = transformer(tokens_BKD)
        return F.normalize(to_sphere(tokens_BKD.mean(1)).float(), dim=-1)

    @classmethod
    def debug_config(cls) -> GamaConfig:
        return GamaConfig(
            init="scratch", width=4, ground_dropout=0.0, heads=2, feedforward=16, dropout=0.0, tokens=2, embed_dim=16,
            frame_px=(36, 64), crop_px=(32, 56), tile_px=40, tile_crop_px=36, epochs=2, batch_clips=4,
            learning_rate=3e-3,
        )  # fmt: skip


def head(width: int, embed_dim: int) -> nn.Sequential:
    """Projection head of one hidden layer (4.1)."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, embed_dim))


def brought_to(pictures_NSSC: Tensor, side: int) -> Tensor:
    """Square pictures of other sides, uint8, to this one; GAMa's tiles have it as they come."""
    if pictures_NSSC.shape[1:3] == (side, side):
        return pictures_NSSC
    pixels = F.interpolate(pictures_NSSC.permute(0, 3, 1, 2).float(), (side, side), mode="bilinear", antialias=True)
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _transformer(config: GamaConfig) -> nn.TransformerEncoder:
    """Post-norm layers with ReLU that start alike, and a norm (code)."""
    layer = nn.TransformerEncoderLayer(
        config.feature_dim, config.heads, config.feedforward, config.dropout, batch_first=True
    )
    norm = nn.LayerNorm(config.feature_dim)
    return nn.TransformerEncoder(layer, config.layers, norm, enable_nested_tensor=False)


METHOD = Gama
