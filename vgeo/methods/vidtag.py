"""VidTAG: every frame of a clip is matched with points on the map, as one coherent track.

Paper: Kulkarni, Gupta, Chhipa, Shah, CVPR 2026 (arXiv 2604.12159). No code is public; this is written from the paper.

Idea: frozen CLIP and DINOv2 features of each frame are joined; TempGeo, a small transformer encoder over the frames of
a clip, lets them look at each other; an MLP brings them to the unit sphere on which the location encoder puts positions
(phase "align", contrastive). GeoRefiner, an encoder and decoder, then learns to undo typical errors of a track: it is
shown positions that were corrupted on purpose together with the frames, and gives back embeddings of the true ones
(phase "refine"). At inference the track that phase I answers goes through it, and its output is searched for in the
same gallery.

Guessed where the paper is silent, each a setting or a line below: each branch is normalised before the two are joined
(raw norms differ, one would drown the other); frames are scaled by the root of the width before positions are added
(unit-norm frames would drown in them, 30 to 1); 8 heads of 2048 hidden units; a learned factor on cosines (without one
the loss over 2048 candidates cannot fall below 5.6 nats); the MLP's output is what is matched with positions, as
section B.2 says (Eq. 1 writes TempGeo's output, whose width is another). Its 52.9 M trainable weights are 3.4 M fewer
than table 8 says; differences between the table's rows come out exactly.

Shapes: B clips, T frames, N frames of this process's clips, M of all processes' clips, D joined feature width,
W width of GeoRefiner, E embedding width, G gallery entries.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vgeo.layers.contrastive import cross_entropy_sum, match_targets, squared_chords_km2
from vgeo.layers.location_encoder import LocationEncoder, take_released
from vgeo.layers.ranks import gather_rows, own_rows
from vgeo.layers.sequence import attended, in_windows, sinusoids
from vgeo.methods._published import table_8, table_14
from vgeo.methods._vidtag_config import VidTagConfig
from vgeo.methods._vidtag_refine import alignment_loss, as_clips, corrupt, draw_noise, stray
from vgeo.methods.base import Clips, Places, PublishedCost, Recipe, Retriever

ALIGN, REFINE = "align", "refine"


class TempGeo(nn.Module):
    """Frames of a clip look at each other (section 3.2): [B, T, D] of unit norm -> [B, T, D]."""

    def __init__(self, config: VidTagConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _layer(nn.TransformerEncoderLayer, config.width, config) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)  # pre-norm layers leave their sum as it is

    def forward(self, frames_BTD: Tensor, positions: Tensor, mask_BT: Tensor) -> Tensor:
        unseen_BT = ~attended(mask_BT)
        x = math.sqrt(frames_BTD.shape[-1]) * frames_BTD + positions
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=unseen_BT)
        return self.norm(x)


class GeoRefiner(nn.Module):
    """Positions of a track look at its frames (section 3.4): embeddings [B, T, E] -> refined [B, T, E], not normalised.

    No causal mask: every position looks at the whole track and at all frames. Order matters on both sides, so both are
    given positions, which the paper does not say.
    """

    def __init__(self, config: VidTagConfig) -> None:
        super().__init__()
        width = config.refiner_width
        self.enter = nn.Linear(config.embed_dim, width) if width != config.embed_dim else nn.Identity()
        self.encoder = nn.ModuleList(
            _layer(nn.TransformerEncoderLayer, width, config) for _ in range(config.refiner_encoder_layers)
        )
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(
            _layer(nn.TransformerDecoderLayer, width, config) for _ in range(config.refiner_decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, config.embed_dim)

    def forward(self, gps_BTE: Tensor, frames_BTW: Tensor, positions: Tensor, mask_BT: Tensor) -> Tensor:
        unseen_BT = ~attended(mask_BT)
        memory = frames_BTW + positions
        for layer in self.encoder:
            memory = layer(memory, src_key_padding_mask=unseen_BT)
        memory = self.encoder_norm(memory)
        x = self.enter(math.sqrt(gps_BTE.shape[-1]) * gps_BTE) + positions
        for layer in self.decoder:
            x = layer(x, memory, tgt_key_padding_mask=unseen_BT, memory_key_padding_mask=unseen_BT)
        return self.leave(self.decoder_norm(x))


class VidTag(Retriever):
    """Frame encoder (TempGeo and MLP), location encoder, GeoRefiner."""

    Config = VidTagConfig
    title = "VidTAG: temporally aligned video to GPS geolocalization"
    paper = "Kulkarni, Gupta, Chhipa, Shah, CVPR 2026, arXiv 2604.12159"
    phases: tuple[str, ...] = (ALIGN, REFINE)
    license_note = "no weights are released; of CLIP ViT-L/14: MIT, of DINOv2: Apache-2.0"

    refining: Tensor  # bool: GeoRefiner is trained, or being trained

    def __init__(self, config: VidTagConfig) -> None:
        super().__init__(config)
        if not config.geo_refiner:
            self.phases = (ALIGN,)
        self.temp_geo = TempGeo(config) if config.temp_geo else None
        self.mlp = _mlp((config.width, *config.mlp_widths, config.embed_dim))
        self.location = LocationEncoder(
            config.sigmas,
            fourier=config.fourier,
            width=config.location_width,
            depth=config.location_depth,
            dim=config.embed_dim,
            seed=config.frequency_seed,
        )
        self.logit_scale = nn.Parameter(torch.tensor(config.init_log_scale))
        if config.level_radii_km:  # of the levels before the last
            self.level_log_scales = nn.Parameter(torch.full((len(config.sigmas) - 1,), config.init_log_scale))
        self.geo_refiner = GeoRefiner(config) if config.geo_refiner else None
        self.register_buffer("refining", torch.tensor(False))

    @property
    def encoders(self) -> tuple[str, ...]:
        return tuple(self.config.encoders)

    @property
    def scale(self) -> float:
        return float(self._scale().detach())

    def _scale(self) -> Tensor:
        return self.logit_scale.exp().clamp(max=100)  # CLIP's bound

    def queries(self, clips: Clips) -> Tensor:
        joined_BTD = self._joined(clips)
        return in_windows(self._embed, joined_BTD, clips.mask_BT, self.config.window, self.config.window_overlap)

    def keys(self, places: Places) -> Tensor:
        return F.normalize(self.location(places.latlon_deg), dim=-1)

    @property
    def level_radii_km(self) -> tuple[float, ...]:
        return tuple(self.config.level_radii_km)

    def level_keys(self, places: Places, level: int) -> Tensor:
        return F.normalize(self.location(places.latlon_deg, level + 1), dim=-1)

    def level_scale(self, level: int) -> float:
        return float(self._level_scales()[level].detach())

    def _level_scales(self) -> list[Tensor]:
        if not self.config.level_radii_km:
            return [self._scale()]
        return [*self.level_log_scales.exp().clamp(max=100), self._scale()]

    @property
    def refines(self) -> bool:
        return bool(self.refining)

    def refined(self, clips: Clips, latlon_BT2: Tensor) -> Tensor:
        """Phase I's track, seen by GeoRefiner together with the frames (Fig. 5)."""
        joined_BTD = self._joined(clips)
        both = torch.cat([joined_BTD, F.normalize(self.location(latlon_BT2), dim=-1).to(joined_BTD)], -1)

        def embed(both_BTX: Tensor, mask_BT: Tensor) -> Tensor:
            frames, gps = both_BTX.split([self.config.width, self.config.embed_dim], -1)
            return self._refine(gps, self._context(frames, mask_BT), mask_BT)

        return in_windows(embed, both, clips.mask_BT, self.config.window, self.config.window_overlap)

    def _joined(self, clips: Clips) -> Tensor:
        """Features of all encoders side by side, of unit norm (sections 3.1, 3.2): [B, T, D]."""
        parts = [clips.features[name].float() for name in self.config.encoders]
        if self.config.normalise == "each":
            parts = [F.normalize(part, dim=-1) for part in parts]
        return F.normalize(torch.cat(parts, -1), dim=-1)

    def _positions(self, mask_BT: Tensor, width: int) -> Tensor:
        """[T, width], or [B, T, width] where clips longer than those of training are fitted into their positions."""
        places_T = torch.arange(mask_BT.shape[1], device=mask_BT.device, dtype=torch.float32)
        if self.config.positions == "index" or mask_BT.shape[1] <= self.config.clip_frames:
            return sinusoids(places_T, width)
        last_B1 = (mask_BT.sum(1, keepdim=True) - 1).clamp(min=1)
        return sinusoids(places_T * ((self.config.clip_frames - 1) / last_B1).clamp(max=1), width)

    def _aligned(self, joined_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """TempGeo's output; without it the frames at the same magnitude."""
        if self.temp_geo is None:
            return math.sqrt(self.config.width) * joined_BTD
        aligned: Tensor = self.temp_geo(joined_BTD, self._positions(mask_BT, self.config.width), mask_BT)
        return aligned

    def _embed(self, joined_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        return F.normalize(self.mlp(self._aligned(joined_BTD, mask_BT)).float(), dim=-1)

    def _context(self, joined_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """What GeoRefiner sees of the frames: [B, T, W]."""
        if self.config.refiner_on == "embeddings":
            return math.sqrt(self.config.embed_dim) * self._embed(joined_BTD, mask_BT)
        return self._aligned(joined_BTD, mask_BT)

    def _refine(self, gps_BTE: Tensor, context_BTW: Tensor, mask_BT: Tensor) -> Tensor:
        assert self.geo_refiner is not None
        positions = self._positions(mask_BT, self.config.refiner_width)
        refined: Tensor = self.geo_refiner(gps_BTE, context_BTW, positions, mask_BT)
        return F.normalize(refined.float() + gps_BTE if self.config.residual else refined.float(), dim=-1)

    def recipe(self, phase: str) -> Recipe:
        c = self.config
        first = phase == ALIGN
        return Recipe(
            epochs=c.epochs if first else c.refine_epochs,
            batch_clips=c.batch_clips,
            clip_frames=c.clip_frames,
            learning_rate=c.learning_rate if first else c.refine_learning_rate,
            decay_per_epoch=c.decay_per_epoch if first else c.refine_decay_per_epoch,
            warmup_steps=c.warmup_steps,
            weight_decay=c.weight_decay,
            contiguous=c.frame_choice == "contiguous",
        )

    def begin(self, phase: str) -> None:
        self.refining.fill_(phase == REFINE)

    def moves_keys(self, phase: str) -> bool:
        return phase == ALIGN

    def trainable(self, phase: str) -> list[nn.Parameter]:
        modules = (self.temp_geo, self.mlp, self.location) if phase == ALIGN else (self.geo_refiner,)
        parameters = [p for module in modules if module is not None for p in module.parameters()]
        if phase == REFINE:
            return parameters
        return [*parameters, self.logit_scale, *([self.level_log_scales] if self.config.level_radii_km else [])]

    def train(self, mode: bool = True) -> "VidTag":
        """Phase II trains GeoRefiner alone: what is frozen runs without dropout."""
        super().train(mode)
        if mode and self.refines:
            for module in (self.temp_geo, self.mlp, self.location):
                if module is not None:
                    module.eval()
        return self

    def loss(self, clips: Clips, phase: str, generator: torch.Generator) -> dict[str, Tensor]:
        if clips.latlon_deg is None:
            raise ValueError("training needs positions")
        return self._align_loss(clips) if phase == ALIGN else self._refine_loss(clips, generator)

    def _align_loss(self, clips: Clips) -> dict[str, Tensor]:
        """Eq. 1: each frame is to find its own position among those of all frames of the batch; mean over levels."""
        assert clips.latlon_deg is not None
        c = self.config
        latlon_N2, real_N = clips.latlon_deg.flatten(0, 1), clips.mask_BT.flatten()
        queries_NE = self._embed(self._joined(clips), clips.mask_BT).flatten(0, 1)
        levels = self.location.partial_sums(latlon_N2) if c.level_radii_km else [self.location(latlon_N2)]
        latlon_M2, real_M = gather_rows(latlon_N2), gather_rows(real_N)
        own_N = own_rows(torch.arange(len(real_M), device=real_M.device))
        terms = []
        for level_NE, scale, radius_km in zip(
            levels, self._level_scales(), c.level_radii_km or (c.target_radius_km,), strict=True
        ):
            keys_NE = F.normalize(level_NE, dim=-1)
            target_NM = match_targets(latlon_N2, latlon_M2, own=own_N, positives=c.positives, radius_km=radius_km)
            term = cross_entropy_sum(scale * (queries_NE @ gather_rows(keys_NE).T), target_NM, real_N, real_M)
            if c.symmetric:
                back_NM = scale * (keys_NE @ gather_rows(queries_NE).T)
                term = (term + cross_entropy_sum(back_NM, target_NM, real_N, real_M)) / 2
            terms.append(term)
        return {"total": torch.stack(terms).mean() / real_M.sum().clamp(min=1)}

    def _refine_loss(self, clips: Clips, generator: torch.Generator) -> dict[str, Tensor]:
        """Eqs. 2 to 5, between refined embeddings of corrupted tracks and embeddings of the true ones."""
        assert clips.latlon_deg is not None
        c, mask_BT = self.config, clips.mask_BT
        with torch.no_grad():
            noise = draw_noise(mask_BT, c.collapse, c.jitter_deg, c.shift_deg, generator)
            noisy_BT2 = corrupt(clips.latlon_deg, noise)
            if c.outliers:
                noisy_BT2 = stray(noisy_BT2, clips.latlon_deg, c.outliers, generator)
            gps, true = F.normalize(self.location(torch.stack([noisy_BT2, clips.latlon_deg])), dim=-1)
            context_BTW = self._context(self._joined(clips), mask_BT)
        refined = self._refine(gps, context_BTW, mask_BT)
        near_NM = None
        if c.negatives_beyond_km:
            latlon_N2 = clips.latlon_deg.flatten(0, 1)
            near_NM = squared_chords_km2(latlon_N2, gather_rows(latlon_N2)) < c.negatives_beyond_km**2
        frame = alignment_loss(refined.flatten(0, 1), true.flatten(0, 1), mask_BT.flatten(), c.alpha, c.beta, near_NM)
        refined_BV, true_BV = (as_clips(x, mask_BT, c.video_level) for x in (refined, true))
        video = alignment_loss(refined_BV, true_BV, mask_BT.any(1), c.alpha, c.beta)
        return {"total": frame + video, "frame": frame, "video": video}

    def load_released(self, tensors: dict[str, Tensor]) -> list[str]:
        """Take over GeoCLIP's location encoder and factor on cosines; return what stays as it was drawn.

        A capsule is taken for each sigma that the release has. Raises ValueError when widths are not the release's.
        """
        drawn = take_released(self.location, self.config.sigmas, tensors)
        with torch.no_grad():
            for scale in (self.logit_scale, *([self.level_log_scales] if self.config.level_radii_km else [])):
                scale.copy_(tensors["logit_scale"].reshape(()).expand_as(scale))
        return drawn

    def published_costs(self) -> tuple[PublishedCost, ...]:
        """Rows of tables 8 and 14 whose model has the same parts and widths."""
        c, paper = self.config, VidTagConfig()
        given = ("encoders", "feature_dims", "temp_geo", "layers", "embed_dim")
        if any(getattr(c, name) != getattr(paper, name) for name in given) or len(c.sigmas) != len(paper.sigmas):
            return ()
        return (*table_8(c.mlp_widths, ALIGN), *(table_14("vidtag") if c.geo_refiner else ()))

    @classmethod
    def debug_config(cls) -> VidTagConfig:
        return VidTagConfig(
            init="scratch",
            feature_dims=(24, 32),
            heads=4,
            feedforward=48,
            dropout=0.0,
            mlp_widths=(48,),
            embed_dim=32,
            fourier=16,
            location_width=48,
            location_depth=2,
            epochs=2,
            refine_epochs=2,
            learning_rate=3e-3,
            refine_learning_rate=3e-3,
            warmup_steps=0,
            batch_clips=4,
            clip_frames=6,
        )


def _layer(
    kind: type[nn.TransformerEncoderLayer | nn.TransformerDecoderLayer], width: int, config: VidTagConfig
) -> nn.Module:
    """A pre-norm transformer layer (section 3.2: "standard pre-normalization and dropout")."""
    return kind(width, config.heads, config.feedforward, config.dropout, batch_first=True, norm_first=True)


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with Mish between them (B.2)."""
    linear = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*[layer for first in linear[:-1] for layer in (first, nn.Mish())], linear[-1])


METHOD = VidTag
