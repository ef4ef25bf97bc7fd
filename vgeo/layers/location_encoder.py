"""GeoCLIP's location encoder: positions on the Earth to embeddings (Vivanco Cepeda et al. 2023, section 3.1).

Equal Earth projection, random Fourier features at several scales (sigmas), one MLP ("capsule") a scale, summed.
The larger sigma, the finer the places it tells apart.

Precision: up to sigma 256 the phases are float32, as published, so that the released model's answers come out the same
even where two candidates nearly tie. Above, they are float64: at sigma 2^15 a phase reaches 1e5 cycles, and in float32
both the projected position (1.2 m) and the phase (0.006 cycles) would be too coarse for a grid of 10 m. Autocast
reaches the MLPs, never the features.

Shapes: N positions, F frequencies a sigma, W width of the hidden layers, E embedding width.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Equal Earth projection: Savric, Patterson and Jenny 2018, equation 5 and table 1.
_A1, _A2, _A3, _A4 = 1.340264, -0.081106, 0.000893, 0.003796
# GeoCLIP divides by 180 and scales so that 180 degrees of longitude on the equator lie at x = 1.
_SCALE = 66.50336
RELEASED_SIGMAS = (1.0, 16.0, 256.0)  # of the package's weights; VidTAG's table 9 prefers 8 to 16 by 0.4 points at 1 km


def equal_earth(latlon_deg: Tensor) -> Tensor:
    """Project positions [..., 2] (lat, lon) to the plane [..., 2] (x, y), in their own type; x spans [-1, 1]."""
    lat, lon = torch.deg2rad(latlon_deg).unbind(-1)
    theta = torch.asin(math.sqrt(3) / 2 * torch.sin(lat))
    slope = 9 * _A4 * theta**8 + 7 * _A3 * theta**6 + 3 * _A2 * theta**2 + _A1
    x = 2 * math.sqrt(3) * lon * torch.cos(theta) / (3 * slope)
    y = _A4 * theta**9 + _A3 * theta**7 + _A2 * theta**3 + _A1 * theta
    return torch.stack([x, y], -1) * _SCALE / 180


class Capsule(nn.Module):
    """Fourier features of one scale and the MLP over them."""

    frequencies: Tensor  # [F, 2], fixed: drawn from N(0, sigma^2), or the released ones

    def __init__(self, sigma: float, fourier: int, width: int, depth: int, dim: int, generator: torch.Generator):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(fourier, 2, generator=generator) * sigma)
        self.precision = torch.float32 if sigma <= RELEASED_SIGMAS[-1] else torch.float64
        widths = [2 * fourier, *[width] * depth]
        hidden = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.mlp = nn.Sequential(*hidden, nn.Linear(width, dim))

    def features(self, latlon_deg: Tensor) -> Tensor:
        """Fourier features [N, 2F] float32 of positions [N, 2] float64, on the positions' device."""
        plane = equal_earth(latlon_deg.to(self.precision))
        with torch.autocast(plane.device.type, enabled=False):
            phase = 2 * math.pi * plane @ self.frequencies.to(plane).T
        if self.precision is torch.float64:
            phase = torch.remainder(phase, 2 * math.pi).float()
        return torch.cat([phase.cos(), phase.sin()], -1)

    def forward(self, latlon_deg: Tensor) -> Tensor:
        """Embed positions: [N, 2] float64 -> [N, E] float32."""
        embedded: Tensor = self.mlp(self.features(latlon_deg).to(self.frequencies.device))
        return embedded.float()


class LocationEncoder(nn.Module):
    """Positions to embeddings, not normalised.

    sigmas, fourier, width, depth, dim: GeoCLIP's by default (section 3.1 and the released weights).
    seed: of the random frequencies, so that they do not depend on what was drawn before.
    """

    def __init__(
        self,
        sigmas: Sequence[float] = (1, 16, 256),
        *,
        fourier: int = 256,
        width: int = 1024,
        depth: int = 3,
        dim: int = 512,
        seed: int = 0,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.capsules = nn.ModuleList(Capsule(s, fourier, width, depth, dim, generator) for s in sigmas)

    def forward(self, latlon_deg: Tensor, capsules: int | None = None) -> Tensor:
        """Embed positions: [..., 2] degrees float64 -> [..., E] float32.

        Positions may lie on another device than the weights (one that has float64, say): they are projected there.
        capsules: how many, from the first, are summed; all of them when None.
        """
        flat = latlon_deg.reshape(-1, 2)
        embedded = torch.stack([capsule(flat) for capsule in self.capsules[:capsules]]).sum(0)
        return embedded.reshape(*latlon_deg.shape[:-1], -1)

    def partial_sums(self, latlon_deg: Tensor) -> list[Tensor]:
        """What `forward` gives of the first capsule, of the first two, and so on up to all; each capsule runs once."""
        flat = latlon_deg.reshape(-1, 2)
        sums = itertools.accumulate(capsule(flat) for capsule in self.capsules)
        return [embedded.reshape(*latlon_deg.shape[:-1], -1) for embedded in sums]


def check_levels(radii_km: Sequence[float], sigmas: Sequence[float], target_radius_km: float) -> None:
    """Raise ValueError unless each sum of the first capsules has a radius, and they fall as the sigmas rise."""
    if len(sigmas) < 2:
        raise ValueError("level_radii_km needs two sigmas or more")
    if len(radii_km) != len(sigmas):
        raise ValueError(f"level_radii_km must be as many as sigmas: {len(sigmas)}, not {len(radii_km)}")
    if any(a >= b for a, b in itertools.pairwise(sigmas)):
        raise ValueError("with level_radii_km, sigmas must rise: a coarse capsule comes before a fine one")
    if any(a <= b for a, b in itertools.pairwise(radii_km)) or not radii_km[-1] > 0:
        raise ValueError("level_radii_km must fall, and be positive: from coarse to fine")
    if target_radius_km:
        raise ValueError("the last of level_radii_km is the radius of the targets: leave target_radius_km out")


def from_published(tensors: dict[str, Tensor], capsule: int) -> dict[str, Tensor]:
    """Rename one released capsule, `LocEnc{i}.capsule.{0.b,1.weight,...}` and `.head.0.*`, to a Capsule's own names."""
    prefix = f"LocEnc{capsule}."
    names = {"capsule.0.b": "frequencies"}
    for published, own in (("capsule.1", "mlp.0"), ("capsule.3", "mlp.2"), ("capsule.5", "mlp.4"), ("head.0", "mlp.6")):
        names |= {f"{published}.{part}": f"{own}.{part}" for part in ("weight", "bias")}
    return {own: tensors[prefix + published] for published, own in names.items()}


def take_released(encoder: LocationEncoder, sigmas: Sequence[float], tensors: dict[str, Tensor]) -> list[str]:
    """Load the released capsule of each sigma that the release has; return what stays as it was drawn, for the log.

    Raises ValueError when widths are not those of the release.
    """
    drawn = []
    for capsule, sigma in zip(encoder.capsules, sigmas, strict=True):
        if sigma in RELEASED_SIGMAS:
            take_tensors(capsule, from_published(tensors, RELEASED_SIGMAS.index(sigma)), "location encoder")
        else:
            drawn.append(f"the location encoder's capsule of sigma {sigma:g}")
    return drawn


def take_tensors(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Load all of a module's tensors. Raises ValueError that names the first one of another shape."""
    own = module.state_dict()
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            expected = tuple(own[name].shape) if name in own else "nothing"
            raise ValueError(f"{what}: released {name} is {tuple(tensor.shape)}, the settings ask for {expected}")
    module.load_state_dict(tensors)
