"""A model that knows cities as classes, ready to say which one clips were filmed in. Rows go in, a Localization out.

A clip is cut into windows, each of which is placed; the clip is where their mean probability, or most of them, say.

Shapes: T rows of a clip, W windows, L levels, C classes of a level, D feature width, K candidates.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from vgeo.device import Compute
from vgeo.encoders._windows import middle
from vgeo.encoders.base import Encoder
from vgeo.errors import FormatError, InputError, SettingError, UsageError
from vgeo.formats.gallery import read_gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods._classes import Verdict, mean_of, softmaxes, verdict
from vgeo.methods.base import OWN, Clips
from vgeo.records import LEVELS, Floats, Localization, PlaceLabels, PlaceVote, PlaceVotes, Track
from vgeo.stages.backbones import own_encoder
from vgeo.stages.class_places import classes_of
from vgeo.stages.localizer import WITHIN_KM, ClipQuery
from vgeo.stages.models import Model
from vgeo.stages.votes import RANKED
from vgeo.training.sampling import unrepeated

RULES = ("mean", "majority")
_BATCH = 256  # windows of features at a time


class ClassLocalizer:
    """Answers clips one by one.

    top_k: candidates. places: name the answer. by_vote: how windows decide, "mean" of their probabilities (None) or
    "majority". per_window: a place for each window, along time. Raises FormatError for a model without its gallery,
    InputError for one whose cities lie nowhere, UsageError.
    """

    refine_km = None

    def __init__(
        self,
        model: Model,
        compute: Compute,
        *,
        top_k: int = 5,
        places: bool = True,
        by_vote: str | None = None,
        per_window: bool = False,
    ) -> None:
        if by_vote not in (None, *RULES):
            raise UsageError(f"--vote {by_vote}: windows decide by {' or '.join(RULES)}")
        if model.gallery is None:
            raise FormatError(f"{model.folder}: has no gallery.h5 of its classes; train the model again")
        classes = classes_of(read_gallery(model.gallery, nowhere=True), str(model.gallery))
        if not np.isfinite(classes.gallery.latlon_deg).all():
            raise InputError(
                f"{model.folder}: its cities go by their ids, so nobody knows where they are; train it with their "
                "names (a table city,state,country,continent beside the published list, or --labels)"
            )
        self.model, self.compute, self.gallery = model, compute, classes.gallery
        self.top_k, self.places, self.rule, self.per_window = top_k, places, by_vote or RULES[0], per_window
        self.needed = model.encoders
        self._method, self._hierarchy = model.classifier, classes.hierarchy
        try:
            self._method.to(compute.device).adopt(tuple(torch.from_numpy(step) for step in classes.hierarchy.up))
        except ValueError as error:
            raise FormatError(f"{model.folder}: {error}; train the model again") from error
        self._row_of = {names: row for row, names in enumerate(classes.hierarchy.places())}
        self._chains = [classes.hierarchy.chains(level) for level in range(len(classes.hierarchy.levels))]

    def own_encoder(self) -> Encoder | None:
        """The model's own backbone as an encoder of frames; None where it reads features of others."""
        backbone = getattr(self._method, "backbone", None)
        if backbone is None:
            return None
        return own_encoder(
            backbone, self._method.windows, self.compute, name=self.model.name, normalize=self._method.config.normalize
        )

    def remark(self, rows: int) -> str:
        """What a reader of a report should know of a clip of so many rows of others' features; mostly nothing."""
        wanted = self._method.windows.length if self.needed else 1
        return f"{rows} frames, fewer than the {wanted} of a window" if rows < wanted else ""

    @torch.inference_mode()
    def __call__(self, clip: ClipQuery) -> Localization:
        """Place one clip."""
        window_WR, probability = self._windows(clip)
        count = len(window_WR)
        of_windows = verdict(self._method, probability)
        everything = torch.zeros(count, dtype=torch.int64, device=probability[0].device)
        whole = verdict(self._method, mean_of(probability, everything, 1))
        votes = self._votes(whole, of_windows)
        if self.per_window:
            index = np.array([middle(window) for window in window_WR])
            answer, scores = of_windows.answer_NL[:, 0], of_windows.scores[0]
        else:
            index = np.array([middle(window_WR[count // 2])])
            answer = torch.tensor([self._class_of(votes)], device=whole.scores[0].device)
            scores = whole.scores[0]
        return self._localization(clip, index, answer.cpu().numpy(), scores.cpu().numpy().astype(np.float64), votes)

    def _windows(self, clip: ClipQuery) -> tuple[NDArray[np.int64], tuple[torch.Tensor, ...]]:
        """The rows of each window [W, R], and the probabilities of its classes, [W, C] of each level."""
        (name,) = self.needed or (OWN,)
        table = clip.features[name]
        if name == OWN:  # a row is a window's already
            window_WR = np.arange(len(table))[:, None]
            rows_TD = np.asarray(table, np.float32)
        else:
            window_WR = self._method.windows.rows(len(table), clip.video_id)
            with np.errstate(over="ignore"):  # half precision, as in a feature file
                rows_TD = np.asarray(table, np.float16).astype(np.float32)
        if not np.isfinite(rows_TD).all():
            raise FormatError(f"{clip.source}: features of {clip.video_id} are not finite; precompute them again")
        parts = []
        for first in range(0, len(window_WR), _BATCH):
            some = window_WR[first : first + _BATCH]
            features = {name: torch.from_numpy(rows_TD[some]).to(self.compute.device)}
            mask = torch.from_numpy(unrepeated(some)).to(self.compute.device)
            try:
                logits = self._method.logits(Clips(features=features, mask_BT=mask))
            except RuntimeError as error:
                raise SettingError(
                    f"{clip.source}: {name} gives {rows_TD.shape[1]} numbers, which {self.model.name} cannot take"
                ) from error
            parts.append(softmaxes(logits))
        return window_WR, tuple(torch.cat(level) for level in zip(*parts, strict=True))

    def _votes(self, whole: Verdict, of_windows: Verdict) -> PlaceVotes:
        """The answer at each level and its runners-up; how many windows say so, and how probable it is."""
        ranking: list[tuple[PlaceVote, ...]] = [() for _ in LEVELS]
        answers = self._answers(whole, of_windows)
        for number, level in enumerate(self._hierarchy.levels):
            windows = of_windows.answer_NL[:, number].cpu().numpy()
            score = whole.scores[number][0].double().cpu().numpy()
            best = np.argsort(-score, kind="stable")[:RANKED]
            order = [answers[number], *(int(one) for one in best if one != answers[number])][:RANKED]
            ranking[LEVELS.index(level)] = tuple(
                PlaceVote(
                    labels=self._labels(number, one),
                    share=float(np.mean(windows == one)),
                    probability=min(1.0, float(score[one])),
                )
                for one in order
            )
        return PlaceVotes(rule=self.rule, ranking=tuple(ranking))

    def _answers(self, whole: Verdict, of_windows: Verdict) -> list[int]:
        """The clip's class at each level, by the rule."""
        if self.rule == "mean":
            return [int(one) for one in whole.answer_NL[0]]
        best: list[int] = []
        for number in range(len(self._hierarchy.levels)):
            said, count = np.unique(of_windows.answer_NL[:, number].cpu().numpy(), return_counts=True)
            score = whole.scores[number][0].cpu().numpy()
            best.append(int(max(zip(count, score[said], said, strict=True))[2]))
        if self._method.config.evaluation == "codependent":
            return [int(one) for one in self._chains[0][best[0]]]
        return best

    def _class_of(self, votes: PlaceVotes) -> int:
        """The city that votes name, as a class."""
        return self._row_of[tuple(getattr(votes.labels, level) for level in self._hierarchy.levels)]

    def _labels(self, level: int, number: int) -> PlaceLabels:
        """The names of a class and of what it lies in."""
        ids = self._chains[level][number]
        names = {self._hierarchy.levels[level + i]: self._hierarchy.names[level + i][one] for i, one in enumerate(ids)}
        return PlaceLabels(**names)

    def _localization(
        self, clip: ClipQuery, index: NDArray[np.int64], answer: NDArray[np.int64], scores: Floats, votes: PlaceVotes
    ) -> Localization:
        """Where the answers' centres are; of a city the centre is all that is known."""
        latlon_deg = self.gallery.latlon_deg
        others = np.argsort(-scores, axis=1, kind="stable")[:, : self.top_k]
        ranked = np.stack(
            [
                np.r_[one, [other for other in row if other != one]][: others.shape[1]]
                for one, row in zip(answer, others, strict=True)
            ]
        ).astype(np.int64)
        far_km = distance_km(latlon_deg[answer][:, None], latlon_deg[None])
        return Localization(
            track=Track(
                video_id=clip.video_id,
                latlon_deg=latlon_deg[answer],
                time_s=clip.time_s[index],
                start_utc=clip.start_utc,
                frame_index=None if clip.frame_index is None else clip.frame_index[index],
            ),
            method=self.model.name,
            confidence=np.minimum(1.0, (scores * (far_km <= WITHIN_KM)).sum(1)),
            radius_km=_half_radius_km(far_km, scores),
            candidates_deg=latlon_deg[ranked],
            candidate_scores=np.minimum(1.0, np.take_along_axis(scores, ranked, 1)),
            places=tuple(_text(self._labels(0, int(one))) for one in answer) if self.places else (),
            source=clip.source,
            votes=votes,
        )


def _half_radius_km(far_km: Floats, scores: Floats) -> Floats:
    """The radius around each answer that holds half of the probability."""
    order = np.argsort(far_km, axis=1)
    mass = np.cumsum(np.take_along_axis(scores, order, 1), axis=1)
    at = np.minimum((mass < 0.5 * mass[:, -1:]).sum(1), far_km.shape[1] - 1)
    radius: Floats = np.take_along_axis(np.take_along_axis(far_km, order, 1), at[:, None], 1)[:, 0]
    return radius


def _text(labels: PlaceLabels) -> str:
    """Lisbon, Lisboa, Portugal; a name that repeats once."""
    return ", ".join(dict.fromkeys(name for name in labels.from_level(0)[:3] if name))
