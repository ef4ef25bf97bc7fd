"""CityGuessr: which city, state, country and continent a clip was filmed in.

Paper: Kulkarni, Nayak, Shah, "CityGuessr: City-Level Video Geo-Localization on a Global Scale", ECCV 2024. Its code was
published without a licence and does not run; what is written here follows the paper and the facts that the code shows.

Idea: a video transformer's mean token goes through four linear heads, one a level. In training, the logits of all
levels, each a token, attend to each other; from what comes out, one network says of which kind the scenes are, another
is aligned with the embedding of the places' names. Both only shape what the heads learn: an answer reads the heads
alone, and may multiply each level's probabilities by those of the level above.

Implemented: the heads, Self-Cross Attention, both networks and the three losses with the published reductions; the
backbones of tables 2 and 5; frozen features in their place; the three rows of table 4. The baseline VideoMAE (table 5)
is scenes=none, text=none. Places may be any number, and levels may be missing.

Shapes: B clips (windows), T frames, S pixels of a side, D feature width, L levels, C classes of a level, K classes of
all levels, A attention width, P groups of scenes, X text width, N rows.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vgeo.encoders._windows import Windows
from vgeo.layers.ranks import gather_rows
from vgeo.methods._backbones import Backbone, augment, preprocess
from vgeo.methods._cityguessr_config import SCENE_GROUPS, CityGuessrConfig
from vgeo.methods.base import OWN, Classifier, Clips, Recipe

PHASE = "classify"


class SelfCrossAttention(nn.Module):
    """Each logit is a token, and all levels' attend to each other (4.3); no residual, norm or positions (code)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(1, dim) for _ in range(3))
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)  # projects once more
        self.out = nn.Linear(dim, 1)

    def forward(self, logits_BK: Tensor) -> Tensor:
        """[B, K] -> [B, K]."""
        tokens_BK1 = logits_BK[..., None]
        attended_BKA, _ = self.attention(
            self.query(tokens_BK1), self.key(tokens_BK1), self.value(tokens_BK1), need_weights=False
        )
        mixed_BK: Tensor = self.out(attended_BKA)[..., 0]
        return mixed_BK


class CityGuessr(Classifier):
    """Backbone, heads, and what is needed in training alone."""

    Config = CityGuessrConfig
    title = "CityGuessr: city-level video geo-localization on a global scale"
    paper = "Kulkarni, Nayak, Shah, ECCV 2024"
    needs = "frames"
    phases = (PHASE,)
    license_note = "no weights are released; VideoMAE's and TimeSformer's: CC-BY-NC-4.0"

    feature_mean: Tensor  # [D], of the training clips
    feature_std: Tensor
    text_CX: Tensor | None
    config: CityGuessrConfig

    def __init__(self, config: CityGuessrConfig) -> None:
        super().__init__(config)
        self.backbone = (
            None
            if config.backbone == "features"
            else Backbone(config.backbone, config.shape, pool=config.pool, checkpointing=config.checkpointing)
        )
        dim = config.feature_dim if self.backbone is None else config.width
        if self.backbone is None and config.standardize:
            self.register_buffer("feature_mean", torch.zeros(dim))
            self.register_buffer("feature_std", torch.ones(dim))
        self.heads = nn.ModuleList(nn.Linear(dim, count) for count in config.classes)
        total = sum(config.classes)
        learns_more = config.scenes != "none" or config.text != "none"
        self.attention = SelfCrossAttention(config.attention_dim, config.attention_heads) if learns_more else None
        self.scene = _ffn(total, *config.scene_widths, SCENE_GROUPS) if config.scenes != "none" else None
        # Hidden layers as wide as the mean of input and output (code: 466 for 420 and 512).
        hidden = [(total + config.text_dim) // 2] * (config.text_layers - 1)
        self.text = _ffn(total, *hidden, config.text_dim) if config.text != "none" else None
        self.up: tuple[Tensor, ...] = ()
        self.register_buffer("text_CX", None, persistent=False)

    @property
    def encoders(self) -> tuple[str, ...]:
        return (self.config.encoder,) if self.backbone is None else ()

    @property
    def frame_shape(self) -> tuple[int, int] | None:
        return None if self.backbone is None else (self.config.image_px, self.config.image_px)

    @property
    def windows(self) -> Windows:
        c = self.config
        if c.backbone == "mae":
            return Windows(length=1, rule=c.frame)
        length = c.rows if self.backbone is None else c.frames
        return Windows(length=length, rule="windows" if length == 1 else c.windows)

    def adopt(self, up: tuple[Tensor, ...], text_CD: Tensor | None = None) -> None:
        expected = [*self.config.classes[:-1]]
        if [len(step) for step in up] != expected:
            raise ValueError(f"the gallery's levels have {[len(step) for step in up]} classes, the heads {expected}")
        device = next(self.parameters()).device
        self.up = tuple(step.to(device) for step in up)
        self.text_CX = None if text_CD is None else text_CD.float().to(device)

    def logits(self, clips: Clips) -> tuple[Tensor, ...]:
        feature_BD = self._features(clips, None)
        with torch.autocast(feature_BD.device.type, enabled=False):  # costs nothing, and is what answers are read from
            return tuple(head(feature_BD.float()) for head in self.heads)

    def _features(self, clips: Clips, generator: torch.Generator | None) -> Tensor:
        """One vector a clip: [B, D]. generator: augments, as in training."""
        if self.backbone is None or clips.frames_BTHWC is None:
            rows_BTD = clips.features[self.config.encoder if self.backbone is None else OWN].float()
            mask_BT1 = clips.mask_BT[..., None]
            mean_BD = (rows_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)
            standardized = self.backbone is None and self.config.standardize
            return (mean_BD - self.feature_mean) / self.feature_std if standardized else mean_BD
        pixels_BTCSS = preprocess(clips.frames_BTHWC, self.config.normalize)
        if generator is not None:
            pixels_BTCSS = augment(pixels_BTCSS, generator, flip=self.config.flip, crop=self.config.crop)
        feature_BD: Tensor = self.backbone(pixels_BTCSS)
        return feature_BD

    @torch.no_grad()
    def see(self, features_ND: Tensor) -> None:
        """Take the scale of frozen features from those of training."""
        if self.backbone is None and self.config.standardize:
            self.feature_mean.copy_(features_ND.mean(0))
            deviation_D = features_ND.std(0, correction=0)
            self.feature_std.copy_(torch.where(deviation_D > 1e-6, deviation_D, torch.ones_like(deviation_D)))

    def decide(self, probability: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Eq. 5 from the coarsest level down: each class by its own probability times all of those it lies in.

        What comes out is the geometric mean of these, which has the order of the product. Ours: the product itself
        counts the same evidence once for each level, so that made to sum to one it is too sure.
        """
        if not self.config.multiply:
            return probability
        logs = [p.float().clamp(min=torch.finfo(torch.float32).tiny).log() for p in probability]
        sums = [logs[-1]]
        for own_NC, up_C in zip(logs[-2::-1], self.up[::-1], strict=True):
            sums.append(own_NC + sums[-1][:, up_C.to(own_NC.device)])
        return tuple((total / levels).exp() for levels, total in enumerate(sums, start=1))[::-1]

    def answers(self, scores: tuple[Tensor, ...]) -> Tensor:
        """Classes that scores [N, C] of the levels lead to: [N, L].

        Codependent: the best city, and what it lies in; independent: each level's best (4.6).
        """
        if self.config.evaluation == "independent":
            return torch.stack([score_NC.argmax(-1) for score_NC in scores], -1)
        chain = [scores[0].argmax(-1)]
        for up_C in self.up:
            chain.append(up_C.to(chain[-1].device)[chain[-1]])
        return torch.stack(chain, -1)

    def recipe(self, phase: str) -> Recipe:
        c = self.config
        # A random frame of table 2 is another one in each epoch.
        drawn = Windows(length=1, rule="windows") if (c.backbone, c.frame) == ("mae", "random") else self.windows
        return Recipe(
            epochs=c.epochs,
            batch_clips=c.batch_clips,
            clip_frames=drawn.length,
            learning_rate=c.learning_rate,
            decay_per_epoch=c.decay_per_epoch,
            warmup_steps=c.warmup_steps,
            weight_decay=c.weight_decay,
            windows=drawn,
        )

    def rate_factor(self, parameter_name: str) -> float:
        return self.config.backbone_rate if parameter_name.startswith("backbone.") else 1.0

    def loss(self, clips: Clips, phase: str, generator: torch.Generator) -> dict[str, Tensor]:
        """L_geo + L_scene + L_TLA (Eq. 4): cross-entropies averaged over the batch, cosines summed over it (code).

        A clip whose class at a level, or whose scenes, are not known adds nothing to that term's sum.
        """
        if clips.truth is None:
            raise ValueError("training needs labels")
        feature_BD = self._features(clips, generator)
        with torch.autocast(feature_BD.device.type, enabled=False):
            logits = [head(feature_BD.float()) for head in self.heads]
            real_B = clips.mask_BT.any(1)
            class_BL = clips.truth.class_BL.masked_fill(~real_B[:, None], -1)
            clips_in_all = gather_rows(real_B).sum().clamp(min=1)
            geo = torch.stack([_entropy_sum(x, class_BL[:, i]) for i, x in enumerate(logits)]).sum() / clips_in_all
            terms = {"total": geo, "geo": geo}
            if self.attention is None:
                return terms
            mixed_BK = self.attention(torch.cat(logits, -1))
            if self.scene is not None:
                terms["scene"] = self._scene_sum(self.scene(mixed_BK), clips.truth.scene_BP, real_B) / clips_in_all
            if self.text is not None:
                # The loop weighs what is returned by the part of the batch that these clips are: a sum must not be.
                over = clips.share if self.config.tla_reduction == "sum" else clips_in_all
                terms["text"] = self._text_sum(self.text(mixed_BK), class_BL[:, 0]) / over
            terms["total"] = sum(list(terms.values())[2:], geo)
            return terms

    def _scene_sum(self, logits_BP: Tensor, scene_BP: Tensor | None, real_B: Tensor) -> Tensor:
        """Eq. 2 with the clip's soft label, or the group of most of its frames (4.3, table 3)."""
        if scene_BP is None:
            raise ValueError("training needs scenes")
        known_B = real_B & (scene_BP.sum(-1) > 0)
        if self.config.scenes == "majority":
            scene_BP = F.one_hot(scene_BP.argmax(-1), SCENE_GROUPS).float()
        entropy_B = -(scene_BP * torch.log_softmax(logits_BP, -1)).sum(-1)
        return (entropy_B * known_B).sum()

    def _text_sum(self, aligned_BX: Tensor, city_B: Tensor) -> Tensor:
        """Eq. 3: negative cosines of the text network's output and the names' embedding."""
        if self.text_CX is None:
            raise ValueError("training needs the names' embeddings")
        known_B = city_B >= 0
        cosine_B = F.cosine_similarity(aligned_BX, self.text_CX[city_B.clamp(min=0)], dim=-1)
        return -(cosine_B * known_B).sum()

    @classmethod
    def debug_config(cls) -> CityGuessrConfig:
        return CityGuessrConfig(
            backbone="features", init="scratch", encoder="gist", feature_dim=32, rows=2, classes=(5, 4, 3, 2),
            text_dim=24, scene_widths=(24, 20), batch_clips=8, epochs=2, learning_rate=3e-3,
        )  # fmt: skip


def _ffn(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] * (i > 0) + [nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers)


def _entropy_sum(logits_BC: Tensor, class_B: Tensor) -> Tensor:
    """Cross-entropies of the clips whose class is known, summed."""
    return F.cross_entropy(logits_BC, class_B, ignore_index=-1, reduction="sum")


METHOD = CityGuessr
