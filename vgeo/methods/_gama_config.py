"""GAMa-Net's settings: what produced the published numbers, the rows of its tables, and our own deviations.

Sections and tables without a name are those of the paper (Vyas, Chen, Shah, ECCV 2022). Where it says nothing, or
something else than the published code does, the code decides ("code").

Rows of tables 3 and 6, from the default, GAMa-Net, on: Video-Tx is transformer=video, Dual-Tx transformer=both,
Combined transformer=none; CBn is transformer=none augment=crop early_s=0 hard_negative=false, Triplet-Bn that with
loss=triplet, Image-CBn that with ground=image. CN and UCN are galleries.
"""

from dataclasses import dataclass
from typing import Literal

from vgeo.methods._cuts import Augment
from vgeo.methods._resnets import Stem
from vgeo.methods.settings import check_least


@dataclass(frozen=True, slots=True, kw_only=True)
class GamaConfig:
    """Settings; the defaults are those of the paper's GAMa-Net."""

    init: Literal["released", "scratch"] = "released"  # of both encoders: ImageNet's and Kinetics-400's weights, 5
    # What sees the clip and the tile (4.1)
    ground: Literal["video", "image"] = "video"  # 3D-ResNet-18; image: ResNet-18 on the middle frame, table 3
    aerial_stem: Stem = "published"  # its shortcuts stay random; code. torchvision: repaired, a 15th of the work; ours
    width: int = 64  # of the encoders' first layer; the fourth is 8 times as wide
    ground_dropout: float = 0.3  # after every residual block of the 3D-ResNet-18; code
    # Transformer (4.1, 5.2)
    transformer: Literal["aerial", "video", "both", "none"] = "aerial"  # table 6
    layers: int = 2  # 4.1
    heads: int = 4  # 4.1
    feedforward: int = 512  # code
    dropout: float = 0.1  # code
    positions: bool = False  # code; 4.1 says positional encoding, of which kind it does not
    tokens: int = 7  # a side: what the aerial map is pooled to before its transformer; code
    embed_dim: int = 512  # code
    # Pixels
    frame_px: tuple[int, ...] = (144, 256)  # height and width that frames are brought to; of which the code cuts
    crop_px: tuple[int, ...] = (112, 224)  # of them that are seen; code
    tile_px: int = 256  # that tiles are brought to; 3
    tile_crop_px: int = 224  # of them that are seen; code
    # Loss
    loss: Literal["ntxent", "paper", "triplet"] = "ntxent"  # code; paper: Eq. 1 as printed; triplet: table 3
    temperature: float = 0.1  # code
    margin: float = 1.0  # of the triplets; not said
    # What it is trained on (5.2, "combined model")
    augment: Augment = "full"  # crops, tiles turned and mirrored; crop: crops alone, the code's plain variant
    early_s: float = 0.5  # a clip begins up to so much before its second ("temporal centering"); code
    hard_negative: bool = True  # each clip is joined by one of the other half of its video; code
    # Schedule (5)
    epochs: int = 500  # code; its released model is that of epoch 400
    batch_clips: int = 64  # videos; name of the released model
    learning_rate: float = 8e-5  # 5
    milestones: tuple[int, ...] = (100, 150, 250)  # epochs after which the rate is a tenth of what it was; code
    weight_decay: float = 1e-4  # code

    def __post_init__(self) -> None:
        check_least(self, 1, "width", "layers", "heads", "feedforward", "tokens", "embed_dim", "frame_px", "crop_px")
        check_least(self, 1, "tile_px", "tile_crop_px", "epochs", "batch_clips", "milestones")
        check_least(self, 0, "ground_dropout", "dropout", "margin", "early_s", "weight_decay")
        if len(self.frame_px) != 2 or len(self.crop_px) != 2:
            raise ValueError("frame_px and crop_px must be height and width")
        if self.crop_px[0] > self.frame_px[0] or self.crop_px[1] > self.frame_px[1]:
            raise ValueError("crop_px must fit into frame_px")
        if self.tile_crop_px > self.tile_px:
            raise ValueError("tile_crop_px must fit into tile_px")
        if not max(self.ground_dropout, self.dropout) < 1:
            raise ValueError("ground_dropout and dropout must be below 1")
        if not min(self.learning_rate, self.temperature) > 0:
            raise ValueError("learning_rate and temperature must be positive")
        if self.transformer != "none" and self.feature_dim % self.heads:
            raise ValueError(f"heads must divide 8 times the width, {self.feature_dim}, which {self.heads} does not")

    @property
    def feature_dim(self) -> int:
        """D, of both encoders."""
        return 8 * self.width
