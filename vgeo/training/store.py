"""Features where the step needs them: on the device when they fit, else gathered from the mapped files.

Shapes: N frames, D feature width, B clips and T frames of a batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vgeo.device import Compute
from vgeo.errors import FormatError
from vgeo.formats.features import FeatureFile
from vgeo.methods.base import Clips
from vgeo.training.data import Frames
from vgeo.training.memory import free_bytes, send
from vgeo.training.sampling import Drawing, Plan
from vgeo.training.truth import ClipTruth

_CHUNK_ROWS = 65536


class FeatureStore(Drawing):
    """Batches of a set of frames, by frame index. Features are kept as float16 and handed out as float32.

    resident: None decides by the free memory of the device: at most half of it is taken. truth: of the clips, handed
    out with them.
    """

    def __init__(
        self,
        files: Sequence[FeatureFile],
        frames: Frames,
        encoders: Sequence[str],
        compute: Compute,
        resident: bool | None = None,
        truth: ClipTruth | None = None,
    ):
        self.frames = frames
        self.device = compute.device
        self.wait_s = 0.0  # nothing is waited for, unlike in a FrameStore
        self._truth = truth
        self._clip_first = torch.from_numpy(frames.clip_first)
        self._maps = {name: [file.features(name) for file in files] for name in encoders}
        self._file_first = np.concatenate([[0], np.cumsum([len(file.latlon_deg) for file in files])])
        self._latlon_deg = torch.from_numpy(frames.latlon_deg).to(self.device)
        size = sum(2 * len(frames) * maps[0].shape[1] for maps in self._maps.values())
        self.resident = size <= free_bytes(self.device) // 2 if resident is None else resident
        self._tables = {name: self._load(name) for name in encoders} if self.resident else {}
        if self.resident:
            self._clip_first = self._clip_first.to(self.device)

    def plan(self, plan: Plan, pieces: Sequence[slice] = ()) -> tuple[Tensor, Tensor]:
        """An epoch's frames and mask where `batch` takes parts of them fastest: on the device when features are.

        pieces: parts that will be asked for; features are at hand, and nothing is done ahead.
        """
        frame_IT, mask_IT = torch.from_numpy(plan.frame_IT), torch.from_numpy(plan.mask_IT)
        return (self._send(frame_IT), self._send(mask_IT)) if self.resident else (frame_IT, mask_IT)

    def batch(self, frame_BT: Tensor, mask_BT: Tensor) -> Clips:
        """Features and positions of frames, on the device; the arguments lie on the CPU, or there if features do.

        Nothing here waits for the device: copies to CUDA start from pinned memory and overlap the step before.
        """
        index = self._send(frame_BT.flatten())
        features = {
            # `index_select` is five times as fast as `table[index]`.
            name: self._tables[name].index_select(0, index) if self.resident else self._gather(name, frame_BT)
            for name in self._maps
        }
        return Clips(
            features={name: rows.view(*frame_BT.shape, -1).float() for name, rows in features.items()},
            mask_BT=self._send(mask_BT),
            latlon_deg=self._latlon_deg.index_select(0, index).view(*frame_BT.shape, 2),
            truth=None if self._truth is None else self._truth.of_clips(self._clips_of(frame_BT), self.device),
        )

    def _clips_of(self, frame_BT: Tensor) -> Tensor:
        return torch.searchsorted(self._clip_first, frame_BT[:, 0].contiguous(), right=True) - 1

    def _send(self, tensor: Tensor) -> Tensor:
        return send(tensor, self.device)

    def _gather(self, name: str, frame_BT: Tensor) -> Tensor:
        frames = frame_BT.numpy().ravel()
        out = torch.empty(len(frames), self._maps[name][0].shape[1], dtype=torch.float16)
        self._take(name, self.frames.row_N[frames], out.numpy())
        self._check(name, out.numpy(), frames)
        return self._send(out)

    def _take(self, name: str, rows: np.ndarray, out: np.ndarray) -> None:
        if len(self._maps[name]) == 1:
            np.take(self._maps[name][0], rows, axis=0, out=out, mode="clip")  # "clip" writes to `out` without a copy
            return
        for i, features in enumerate(self._maps[name]):
            here = np.flatnonzero((rows >= self._file_first[i]) & (rows < self._file_first[i + 1]))
            out[here] = features[rows[here] - self._file_first[i]]

    def _load(self, name: str) -> Tensor:
        width = self._maps[name][0].shape[1]
        table = torch.empty(len(self.frames), width, dtype=torch.float16, device=self.device)
        for start in range(0, len(self.frames), _CHUNK_ROWS):
            rows = self.frames.row_N[start : start + _CHUNK_ROWS]
            chunk = np.empty((len(rows), width), np.float16)
            self._take(name, rows, chunk)
            self._check(name, chunk, np.arange(start, start + len(rows)))
            table[start : start + len(rows)] = torch.from_numpy(chunk)
        return table

    def _check(self, name: str, features: np.ndarray, frames: np.ndarray) -> None:
        """Raise FormatError where the features of some frames are not finite."""
        fine = np.isfinite(features).all(axis=1)
        if not fine.all():
            bad = int(frames[np.argmin(fine)])
            clip = int(np.searchsorted(self.frames.clip_first, bad, side="right")) - 1
            raise FormatError(
                f"{self.frames.video_ids[clip]}: its {name} features are not finite (frame "
                f"{bad - int(self.frames.clip_first[clip])}); compute them again with precompute-features"
            )
