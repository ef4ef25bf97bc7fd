"""Settings of GAMa's screening network: what produced the published numbers, and the rows of table 4.

Sections and tables without a name are those of the paper (Vyas, Chen, Shah, ECCV 2022); "code" is its published code.
Table 4: small=3d or 2d, sequence=8 or 32.
"""

from dataclasses import dataclass
from typing import Literal

from vgeo.methods._cuts import Augment
from vgeo.methods._resnets import Stem
from vgeo.methods.settings import check_least


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningConfig:
    """Settings; the defaults are those of the network that the hierarchical results come from (5.1)."""

    init: Literal["released", "scratch"] = "released"  # of both encoders: ImageNet's and Kinetics-400's weights, 5
    small: Literal["2d", "3d"] = "2d"  # ResNet-18 on each small tile, or 3D-ResNet-18 on all in a row; table 4
    sequence: int = 32  # small tiles of a video; 8 or 32, table 4
    aerial_stem: Stem = "published"  # its shortcuts stay random; code. torchvision: repaired, a 15th of the work; ours
    width: int = 64  # of the encoders' first layer; the fourth is 8 times as wide
    small_dropout: float = 0.3  # of the 3D-ResNet-18, as in GAMa-Net; not said
    embed_dim: int = 512  # code
    # Pixels
    tile_px: int = 256  # that small tiles and regions, which have 1792, are brought to; code
    tile_crop_px: int = 224  # of them that are seen; code
    augment: Augment = "full"  # each small tile and the region on its own; code
    # Loss
    loss: Literal["ntxent", "paper"] = "ntxent"  # code; paper: Eq. 1 as printed
    temperature: float = 0.1  # code
    # Schedules: on true sequences, then on those that GAMa-Net predicts (5)
    epochs: int = 500  # code; what it goes on with is epoch 170
    milestones: tuple[int, ...] = (100, 150, 200)  # epochs after which the rate is a tenth of what it was; code
    predicted_epochs: int = 150  # the one that the code's results come from
    predicted_milestones: tuple[int, ...] = (40, 80, 120)  # code
    batch_clips: int = 8  # videos; name of the released model
    learning_rate: float = 8e-5  # of both phases; code
    weight_decay: float = 1e-4  # as in GAMa-Net; code

    def __post_init__(self) -> None:
        check_least(self, 1, "sequence", "width", "embed_dim", "tile_px", "tile_crop_px", "epochs", "predicted_epochs")
        check_least(self, 1, "batch_clips", "milestones", "predicted_milestones")
        check_least(self, 0, "small_dropout", "weight_decay")
        if self.tile_crop_px > self.tile_px:
            raise ValueError("tile_crop_px must fit into tile_px")
        if not self.small_dropout < 1:
            raise ValueError("small_dropout must be below 1")
        if not min(self.learning_rate, self.temperature) > 0:
            raise ValueError("learning_rate and temperature must be positive")

    @property
    def feature_dim(self) -> int:
        """D, of both encoders."""
        return 8 * self.width
