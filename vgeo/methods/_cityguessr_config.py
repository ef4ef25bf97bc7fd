"""CityGuessr's settings: what produced the published numbers, the rows of its tables, and our own deviations.

Sections and tables without a name are those of the paper (Kulkarni, Nayak, Shah, ECCV 2024). Where it says nothing, or
something that cannot be, the published code decides ("code").
"""

from dataclasses import dataclass
from typing import Literal

from vgeo.formats.scenes import GROUPS
from vgeo.methods._backbones import BackboneShape, check_shape
from vgeo.methods.settings import check_least

SCENE_GROUPS = len(GROUPS)  # 16, section 4.3


@dataclass(frozen=True, slots=True, kw_only=True)
class CityGuessrConfig:
    """Settings; the defaults are those of the paper's model for CityGuessr68k."""

    # What sees the clip (4.2)
    backbone: Literal["videomae", "timesformer", "mae", "features"] = "videomae"  # tables 2, 5; features: frozen ones
    init: Literal["released", "scratch"] = "released"  # of the backbone: weights of Kinetics-400, 5.2
    repository: str = ""  # hub id of these weights; empty: the backbone's usual one, for videomae ViT-S (5.2)
    # Its shape: ViT-S/16 (5.2). Training takes it from the weights; from scratch it can be any.
    frames: int = 16  # a clip's frames; code. 5.2 says 15, with which VideoMAE cannot run
    image_px: int = 224  # 5.2
    patch_px: int = 16
    tubelet: int = 2  # frames a token of VideoMAE spans
    width: int = 384  # 5.2
    layers: int = 12
    heads: int = 6
    mlp: int = 1536
    pool: Literal["class", "patches"] = "class"  # what is read of the image MAE: its class token, or the patches' mean
    checkpointing: bool = False  # compute layers again in the backward pass: less memory, a third more time; ours
    # Frozen features in its place
    encoder: str = "videomae"  # whose features
    feature_dim: int = 384  # their width
    # Ours: each number over the training clips to mean 0 and deviation 1, for encoders' numbers are of any size.
    standardize: bool = True
    rows: int = 1  # of features that are averaged to a clip's; 16 for encoders that see single frames; ours
    # Which frames. strided: every fifth of 100, code; ours are more such windows where a clip is longer
    windows: Literal["strided", "windows", "uniform"] = "strided"
    frame: Literal["first", "middle", "last", "random"] = "random"  # the one that backbone=mae sees, 5.3 and table 2
    # Of pixels. Code: none, though VideoMAE and MAE were trained with imagenet's, TimeSformer with kinetics'.
    normalize: Literal["none", "imagenet", "kinetics"] = "none"
    flip: float = 0.0  # share of clips that are mirrored in training; ours: neither paper nor code augment
    crop: float = 1.0  # least part of a frame's sides that a random crop keeps in training; ours
    # What it learns
    classes: tuple[int, ...] = (166, 157, 91, 6)  # of city, state, country, continent; training counts them
    scenes: Literal["soft", "majority", "none"] = "soft"  # 4.3, table 3
    text: Literal["all", "city", "none"] = "all"  # mean of the levels' names, or the city's; 4.4, table 3
    text_dim: int = 512  # 5.2
    attention_dim: int = 6  # 5.2
    attention_heads: int = 2  # 5.2
    scene_widths: tuple[int, ...] = (256, 128, 64, 32, 16)  # hidden layers of the scene network; code (six in all, 5.2)
    text_layers: int = 2  # of the text network; code. 5.2 says 3
    tla_reduction: Literal["sum", "mean"] = "sum"  # over the batch; code. Eq. 3 is of one clip; other losses are means
    # How answers are read (4.6, table 4)
    multiply: bool = True  # Eq. 5; off in the published code, but table 4's 69.6 needs it
    evaluation: Literal["codependent", "independent"] = (
        "codependent"  # with multiply=false, the latter is table 4's w/o
    )
    # Schedule (5.2)
    epochs: int = 12  # code; 5.2 says 10
    batch_clips: int = 12
    learning_rate: float = 1e-3
    backbone_rate: float = 1.0  # factor on the learning rate of the backbone; ours
    decay_per_epoch: float = 1.0  # none
    warmup_steps: int = 0  # none
    weight_decay: float = 0.0  # none

    def __post_init__(self) -> None:
        check_least(self, 1, "frames", "image_px", "patch_px", "tubelet", "width", "layers", "heads", "mlp")
        check_least(self, 1, "feature_dim", "rows", "classes", "text_dim", "attention_dim", "attention_heads")
        check_least(self, 1, "scene_widths", "text_layers", "epochs", "batch_clips")
        check_least(self, 0, "flip", "backbone_rate", "warmup_steps", "weight_decay")
        if not 1 <= len(self.classes) <= 4:
            raise ValueError("classes must be one to four numbers, finest level first")
        if self.attention_dim % self.attention_heads:
            raise ValueError("attention_dim must be a multiple of attention_heads")
        if not self.flip <= 1 or not 0 < self.crop <= 1:
            raise ValueError("flip must be in [0, 1] and crop in (0, 1]")
        if not self.learning_rate > 0 or not 0 < self.decay_per_epoch <= 1:
            raise ValueError("learning_rate must be positive and decay_per_epoch in (0, 1]")
        if self.backbone != "features":
            check_shape(self.backbone, self.shape)

    @property
    def shape(self) -> BackboneShape:
        """The backbone's shape, where there is one."""
        return BackboneShape(
            frames=1 if self.backbone == "mae" else self.frames, image_px=self.image_px, patch_px=self.patch_px,
            tubelet=self.tubelet, width=self.width, layers=self.layers, heads=self.heads, mlp=self.mlp,
        )  # fmt: skip
