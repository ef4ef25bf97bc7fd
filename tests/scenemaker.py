"""Makes what `vgeo label-scenes` reads: pictures, a random Places365 network and a table of its categories' groups."""

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import models, transforms


def memberships() -> np.ndarray:
    """[365, 16] flags: category c in group c % 16, every fifth also in group 3."""
    flags = np.zeros((365, 16), int)
    flags[np.arange(365), np.arange(365) % 16] = 1
    flags[::5, 3] = 1
    return flags


def write_groups(path: Path, flags: np.ndarray, names: list[str] | None = None) -> Path:
    """As the sheet of Places365 is exported: names in quotes, two header rows."""
    names = names or [f"'/{'abc'[c // 150]}/category_{c:03d}'" for c in range(len(flags))]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Scene categories", "Level 1", "", "", "Level 2, INDOOR:", *[""] * 15])
        table.writerow(["category", "indoor", "outdoor, natural", "outdoor, man-made", *(f"g {g}" for g in range(16))])
        for name, row in zip(names, flags.tolist(), strict=True):
            table.writerow([name, 1, 0, 0, *row])
        file.write("\n")
    return path


def network(name: str = "resnet18") -> torch.nn.Module:
    """A random network whose answers differ from picture to picture."""
    torch.manual_seed(0)
    model: torch.nn.Module = models.get_model(name, weights=None, num_classes=365)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model.eval()


def save(model: torch.nn.Module, path: Path, legacy: bool = False) -> Path:
    """As the training script of Places365 does: DataParallel, in a dict, before batch norms counted batches."""
    state = {f"module.{k}": v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    checkpoint = {"epoch": 90, "arch": "resnet18", "state_dict": state, "best_prec1": 54.2}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    return path


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture [H, W, 3] with edges, so that resizing matters but does not alias."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    a, b, c = np.random.default_rng(seed).uniform(2, 12, 3)
    waves = np.stack([np.sin(a * x + 3 * y), np.cos(b * y), np.sin(c * x * y) + (x > 0.5)], axis=-1)
    return np.clip(waves * 80 + 120, 0, 255).astype(np.uint8)


def probabilities(model: torch.nn.Module, image: np.ndarray) -> torch.Tensor:
    """[1, 365] by torchvision's own transforms and forward."""
    transform = transforms.Compose(
        [
            transforms.Resize((256, 256)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.no_grad():
        said: torch.Tensor = model(transform(Image.fromarray(image))[None]).softmax(1)
    return said


def write_pictures(folder: Path, pictures: list[np.ndarray]) -> Path:
    """A clip: a folder of pictures without losses."""
    folder.mkdir(parents=True)
    for number, image in enumerate(pictures):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder
