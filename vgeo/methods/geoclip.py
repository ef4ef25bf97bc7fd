"""GeoCLIP: each frame alone is matched with points on the map.

Paper: Vivanco Cepeda, Nayak, Shah, NeurIPS 2023 (arXiv 2309.16020); released weights: the package `geoclip` 1.3.0.

Idea: a frozen CLIP image feature goes through a small MLP; a position goes through the location encoder; both meet on
the unit sphere of 512 dimensions. Training is contrastive: a frame is to find its own position among all positions of
the batch (and a queue of earlier ones). At inference the candidates are any list of points, and the frame takes the
point whose embedding is nearest.

Implemented: the released model exactly (zero-shot), training from scratch, and the fine-tuning of VidTAG's appendix F.4
(frames as single images, all other settings those of VidTAG, appendix A), whose values are the defaults.
The encoder may be another one than CLIP: then the image MLP starts from scratch, the location encoder need not.

Ours: the queue starts empty (the published one starts with points within one degree of 0, 0 as negatives); frames at
equal coordinates may share the target; targets may be softened over some metres, which a camera's own step needs when
places are finer than the 100 m that the released embedding tells apart.

Shapes: B clips, T frames, N frames of the batch, C candidates (N and the queue), D feature width, G gallery entries,
E embedding width.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vgeo.geo.sphere import KM_PER_DEG
from vgeo.layers.contrastive import cross_entropy_sum, match_targets
from vgeo.layers.location_encoder import RELEASED_SIGMAS, LocationEncoder, take_released, take_tensors
from vgeo.layers.ranks import gather_rows, own_rows, world_size
from vgeo.methods._published import table_14
from vgeo.methods.base import Clips, Places, PublishedCost, Recipe, Retriever
from vgeo.methods.settings import check_least


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoClipConfig:
    """Settings; the defaults are the released architecture and VidTAG's fine-tuning of it."""

    init: Literal["released", "scratch"] = "released"  # what training starts from; VidTAG F.4 fine-tunes the release
    encoder: str = "clip"  # frozen image encoder; GeoCLIP 3.2: CLIP ViT-L/14, projected
    feature_dim: int = 768  # its width
    image_width: int = 768  # hidden layer of the image MLP (released weights)
    embed_dim: int = 512  # GeoCLIP 3: joint embedding
    sigmas: tuple[float, ...] = RELEASED_SIGMAS  # Fourier scales, GeoCLIP 3.1; add up to 32768 for places 10 m apart
    fourier: int = 256  # frequencies a scale (released weights)
    location_width: int = 1024  # hidden layers of the location encoder (released weights)
    location_depth: int = 3  # their number (released weights)
    frequency_seed: int = 0  # draws the fixed frequencies when they are not the released ones; ours
    init_log_scale: float = math.log(1 / 0.07)  # log of the factor on cosines at the start, GeoCLIP's code (CLIP's)
    symmetric: bool = False  # also match positions with frames; GeoCLIP's code: frames with positions only
    positives: Literal["identity", "equal"] = "identity"  # equal: frames at equal coordinates share the target; ours
    target_radius_km: float = 0.0  # targets spread over a Gaussian of this radius; 0 as published; ours
    queue: int = 0  # earlier positions as further negatives; GeoCLIP 4096, VidTAG none
    gps_noise_m: float = 0.0  # noise on positions of the batch; GeoCLIP's paper 150, VidTAG none
    queue_noise_m: float = 0.0  # noise on positions of the queue; GeoCLIP's paper 1000
    epochs: int = 600  # VidTAG A (MSLS); 100 for GAMa and CityGuessr68k
    batch_frames: int = 2048  # VidTAG A: 128 sequences of 16 frames
    learning_rate: float = 5e-5  # VidTAG A
    decay_per_epoch: float = 0.99  # VidTAG A (MSLS); 0.95 for GAMa and CityGuessr68k
    warmup_steps: int = 1000  # VidTAG A
    weight_decay: float = 0.0  # VidTAG names none; GeoCLIP's paper 1e-6

    def __post_init__(self) -> None:
        if not self.sigmas or min(self.sigmas) <= 0:
            raise ValueError("sigmas must be one or more positive numbers")
        check_least(self, 1, "feature_dim", "image_width", "embed_dim", "fourier", "location_width", "location_depth")
        check_least(self, 1, "epochs", "batch_frames")
        check_least(
            self, 0, "queue", "target_radius_km", "gps_noise_m", "queue_noise_m", "warmup_steps", "weight_decay"
        )
        if not self.learning_rate > 0 or not 0 < self.decay_per_epoch <= 1:
            raise ValueError("learning_rate must be positive and decay_per_epoch in (0, 1]")


class GeoClip(Retriever):
    """The image MLP, the location encoder and the logit scale between them."""

    Config = GeoClipConfig
    title = "GeoCLIP: clip-inspired alignment between locations and images"
    paper = "Vivanco Cepeda, Nayak, Shah, NeurIPS 2023, arXiv 2309.16020"
    phases = ("contrastive",)
    license_note = "weights of the package geoclip: MIT; of CLIP ViT-L/14: MIT"

    queue_deg: Tensor  # [Q, 2] float64, NaN where nothing has been enqueued
    queue_next: Tensor  # row that is written next

    def __init__(self, config: GeoClipConfig) -> None:
        super().__init__(config)
        self.image = nn.Sequential(
            nn.Linear(config.feature_dim, config.image_width),
            nn.ReLU(),
            nn.Linear(config.image_width, config.embed_dim),
        )
        self.location = LocationEncoder(
            config.sigmas,
            fourier=config.fourier,
            width=config.location_width,
            depth=config.location_depth,
            dim=config.embed_dim,
            seed=config.frequency_seed,
        )
        self.logit_scale = nn.Parameter(torch.tensor(config.init_log_scale))
        if config.queue:
            self.register_buffer("queue_deg", torch.full((config.queue, 2), math.nan, dtype=torch.float64))
            self.register_buffer("queue_next", torch.zeros((), dtype=torch.int64))

    @property
    def encoders(self) -> tuple[str, ...]:
        return (self.config.encoder,)

    @property
    def scale(self) -> float:
        return float(self.logit_scale.detach().exp())

    def queries(self, clips: Clips) -> Tensor:
        return F.normalize(self.image(clips.features[self.config.encoder].float()).float(), dim=-1)

    def keys(self, places: Places) -> Tensor:
        return F.normalize(self.location(places.latlon_deg), dim=-1)

    def recipe(self, phase: str) -> Recipe:
        c = self.config
        return Recipe(
            epochs=c.epochs,
            batch_clips=c.batch_frames,
            clip_frames=None,
            learning_rate=c.learning_rate,
            decay_per_epoch=c.decay_per_epoch,
            warmup_steps=c.warmup_steps,
            weight_decay=c.weight_decay,
        )

    def loss(self, clips: Clips, phase: str, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of each frame over the positions of the batch, and of the queue where there is one."""
        if clips.latlon_deg is None:
            raise ValueError("training needs positions")
        queries_NE, latlon_N2 = self.queries(clips).flatten(0, 1), clips.latlon_deg.flatten(0, 1)
        real_N = clips.mask_BT.flatten()
        noisy_N2 = self._noised(latlon_N2, self.config.gps_noise_m, generator)
        queued_Q2 = self._queued()
        latlon_M2 = gather_rows(latlon_N2)
        candidates_C2 = torch.cat([latlon_M2, queued_Q2])
        keys_NE = F.normalize(self.location(noisy_N2), dim=-1)
        keys_CE = gather_rows(keys_NE)
        if len(queued_Q2):
            noisy_Q2 = self._noised(queued_Q2, self.config.queue_noise_m, generator)
            keys_CE = torch.cat([keys_CE, F.normalize(self.location(noisy_Q2), dim=-1)])
        scale = self.logit_scale.exp()
        c = self.config
        real_M = gather_rows(real_N)  # of all processes' rows, without the queue
        real_C = F.pad(real_M, (0, len(queued_Q2)), value=True)
        own_N = own_rows(torch.arange(len(real_M), device=real_M.device))
        choice = {"own": own_N, "positives": c.positives, "radius_km": c.target_radius_km}
        target_NC = match_targets(latlon_N2, candidates_C2, **choice)
        total = cross_entropy_sum(scale * (queries_NE @ keys_CE.T).float(), target_NC, real_N, real_C)
        if c.symmetric:  # a position's candidates are the frames alone: the queue has none
            target_NM = match_targets(latlon_N2, latlon_M2, **choice)
            back_NM = scale * (keys_NE @ gather_rows(queries_NE).T).float()
            total = (total + cross_entropy_sum(back_NM, target_NM, real_N, real_M)) / 2
        if self.training and c.queue:
            self._enqueue(latlon_M2[real_M])  # of all processes, whose queues stay alike
        return {"total": total / real_M.sum().clamp(min=1)}

    def _noised(self, latlon_N2: Tensor, noise_m: float, generator: torch.Generator) -> Tensor:
        """Add Gaussian noise of so many metres, north and east; drawn for the joined batch of all processes."""
        if not noise_m:
            return latlon_N2
        shape = (world_size() * len(latlon_N2), 2)
        noise_N2 = own_rows(torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64))
        noise_N2 = noise_N2.to(latlon_N2.device) * noise_m / (1000 * KM_PER_DEG)
        lat = (latlon_N2[:, 0] + noise_N2[:, 0]).clamp(-90, 90)
        stretch = torch.cos(torch.deg2rad(lat)).clamp(min=1e-3)  # at a pole east means nothing
        lon = (latlon_N2[:, 1] + noise_N2[:, 1] / stretch + 180) % 360 - 180
        return torch.stack([lat, lon], -1)

    def _queued(self) -> Tensor:
        """The queue's positions that are there: [up to Q, 2]; none without a queue."""
        if not self.config.queue:
            return torch.empty(0, 2, dtype=torch.float64, device=self.logit_scale.device)
        return self.queue_deg[~self.queue_deg[:, 0].isnan()]

    @torch.no_grad()
    def _enqueue(self, latlon_N2: Tensor) -> None:
        """Overwrite the oldest positions by those of this batch, once they have served as candidates (as published)."""
        newest = latlon_N2[-self.config.queue :].to(self.queue_deg)
        rows = (self.queue_next + torch.arange(len(newest), device=self.queue_next.device)) % self.config.queue
        self.queue_deg[rows] = newest
        self.queue_next.copy_((self.queue_next + len(newest)) % self.config.queue)

    def load_released(self, tensors: dict[str, Tensor]) -> list[str]:
        """Take over the released weights as far as the settings allow; return what stays as it was drawn.

        tensors: the package's names: `LocEnc{i}.*` (location encoder), `0.*` and `2.*` (image MLP), `logit_scale`.
        A capsule is taken for each sigma that the release has; the image MLP and the scale for its own encoder.
        Raises ValueError when the widths are not those of the release.
        """
        drawn = take_released(self.location, self.config.sigmas, tensors)
        if self.config.encoder.partition(":")[0] == "clip" and self.config.feature_dim == 768:
            take_tensors(self.image, {name: tensors[name] for name in self.image.state_dict()}, "image MLP")
            with torch.no_grad():
                self.logit_scale.copy_(tensors["logit_scale"].reshape(()))
        else:
            drawn.append(f"the image MLP over {self.config.encoder}")
        return drawn

    def published_costs(self) -> tuple[PublishedCost, ...]:
        return table_14("geoclip") if self.config.encoder == "clip" else ()

    @classmethod
    def debug_config(cls) -> GeoClipConfig:
        return GeoClipConfig(
            init="scratch",
            feature_dim=32,
            image_width=48,
            embed_dim=32,
            fourier=16,
            location_width=48,
            location_depth=2,
            batch_frames=64,
            epochs=2,
            learning_rate=3e-3,
            warmup_steps=0,
        )


METHOD = GeoClip
