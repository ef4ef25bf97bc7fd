"""Two processes that share a batch of pairs find the gradients, and the norms' statistics, of one."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.methods.base import Clips, Method
from vgeo.methods.gama import Gama
from vgeo.methods.screening import Screening


def gama(**changes: object) -> Method:
    return Gama(replace(Gama.debug_config(), **changes))  # type: ignore[arg-type]


def screening(**changes: object) -> Method:
    return Screening(replace(Screening.debug_config(), **changes))  # type: ignore[arg-type]


# Method and clips of the joined batch. Of an odd number the second process's part is filled up; there nothing is drawn,
# for the draws are those of a larger batch.
CASES: dict[str, tuple[Callable[[], Method], int]] = {
    "as published": (gama, 4),
    "filled up": (lambda: gama(transformer="both", augment="none"), 5),
    "Eq. 1": (lambda: gama(loss="paper", ground="image", aerial_stem="torchvision"), 4),
    "triplets": (lambda: gama(loss="triplet", augment="none"), 5),
    "screening": (lambda: screening(augment="none"), 5),
    "screening, drawn": (screening, 4),
    "screening, 3d": (lambda: screening(small="3d", small_dropout=0.0), 4),
}


def clips_of(method: Method, clips: int) -> Clips:
    assert method.frame_shape is not None and method.windows is not None
    generator = torch.Generator().manual_seed(2)
    frames = (clips, method.windows.length, *method.frame_shape, 3)
    tile = method.config.tile_px
    return Clips(
        mask_BT=torch.ones(frames[:2], dtype=torch.bool),
        frames_BTHWC=torch.randint(256, frames, generator=generator, dtype=torch.uint8),
        tiles_BSSC=torch.randint(256, (clips, tile, tile, 3), generator=generator, dtype=torch.uint8),
    )


def part_of(clips: Clips, rank: int) -> Clips:
    """A process's part, filled up with clips that are none."""
    each = -(-len(clips.mask_BT) // 2)

    def own(values: Tensor | None) -> Tensor:
        assert values is not None
        mine = values[rank * each : (rank + 1) * each]
        return F.pad(mine, (0, 0) * (mine.ndim - 1) + (0, each - len(mine)))

    return Clips(mask_BT=own(clips.mask_BT), frames_BTHWC=own(clips.frames_BTHWC), tiles_BSSC=own(clips.tiles_BSSC))


def step(case: str, rank: int | None) -> dict[str, Tensor]:
    """Loss, gradients and statistics of one step; rank None: of one process alone."""
    torch.manual_seed(0)
    make, count = CASES[case]
    method = make().train()
    clips = clips_of(method, count)
    if rank is not None:
        clips = part_of(clips, rank)
    loss = method.loss(clips, method.phases[0], torch.Generator().manual_seed(3))["total"]
    loss.backward()
    found = {f"gradient {name}": p.grad for name, p in method.named_parameters() if p.grad is not None}
    found["loss"] = loss.detach()[None]
    if rank is not None:
        for value in found.values():
            dist.all_reduce(value)
    return found | {name: value.clone() for name, value in method.named_buffers()}


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for i, case in enumerate(CASES):
        save_file(step(case, rank), folder / f"{i}-{rank}.safetensors")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # PyTorch's own threads may abort a process while the interpreter is taken down


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    mp.spawn(worker, (folder,), 2)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(together: Path, case: str) -> None:
    torch.set_num_threads(1)
    alone = step(case, None)
    number = list(CASES).index(case)
    both = [load_file(together / f"{number}-{rank}.safetensors") for rank in range(2)]
    assert both[0].keys() == both[1].keys() == alone.keys()
    for name, value in alone.items():
        for theirs in both:
            if name.startswith("gradient"):  # 1e-13 in float64; in float32 units that are all but zero flip
                assert (theirs[name] - value).norm() < 2e-2 * value.norm(), name
            else:
                torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-5, msg=name)
