"""Localizing on the workers of a Ray cluster: in place of `Prepared`, with the same answers."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vgeo.encoders._windows import common_windows
from vgeo.errors import UsageError
from vgeo.formats.gallery import Gallery
from vgeo.logs import SILENT, Progress
from vgeo.records import Localization
from vgeo.stages.batch import Batch, Item
from vgeo.stages.cluster import Cluster, Done, Where
from vgeo.stages.cluster_work import Ahead, as_done
from vgeo.stages.localize import Answers, Prepared, prepare
from vgeo.stages.localize_inputs import Task
from vgeo.stages.localize_models import default_model, gallery_of
from vgeo.stages.models import load_model
from vgeo.stages.turns import Turns

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Localizing:
    """Makes the work of localizing clips. options: of `prepare`."""

    tasks: Sequence[Task]
    options: Mapping[str, Any]

    def __call__(self, where: Where) -> "_Localizing":
        """Load model, gallery and encoders on a worker."""
        return _Localizing(prepare(self.tasks, **self.options, device=where.device, precision=where.precision))


class _Localizing:
    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._ahead = Ahead(prepared.viewing, common_windows(prepared.encoders))
        self.facts = prepared.facts()

    def ahead(self, item: Task) -> None:
        assert item.clip is not None
        self._ahead.ahead(item.clip)

    def __call__(self, item: Task) -> tuple[Localization, Item]:
        assert item.clip is not None
        noted = Item()
        with self._ahead.begin(item.clip) as stream:
            return self._prepared.one(item, iter([stream]), noted), noted


class ClusterPrepared:
    """Clips that a cluster's workers localize; see `Prepared`. A context, which lets go of the workers.

    options: of `prepare`, without device and precision. Raises UsageError for feature files, and what loading
    and `Cluster` raise.
    """

    def __init__(self, where: Where, tasks: list[Task], options: Mapping[str, Any]) -> None:
        if any(task.clip is None for task in tasks):
            raise UsageError("--ray: features are searched faster here than sent around; leave it out")
        self.tasks: Sequence[Task] = tasks
        self._options = options
        self._cluster = Cluster(where, Localizing(tasks, options), len(tasks))

    def __enter__(self) -> "ClusterPrepared":
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.close()

    def facts(self) -> dict[str, Any]:
        """What decides the answers."""
        found: dict[str, Any] = self._cluster.facts
        return found

    @cached_property
    def gallery(self) -> Gallery:
        """What is searched; read here when it is asked for, as for a map."""
        model = load_model(
            default_model(self._options["model"]), settings=self._options["settings"], weights=self._options["weights"]
        )
        return gallery_of(self._options["gallery"], model)

    def run(self, batch: Batch | None = None, progress: Progress = SILENT, out: str = "") -> Iterator[Localization]:
        """Localize all tasks; in order, so that a file of them is the same whoever did them."""
        progress.start("localize", len(self.tasks), "clips")
        for task, done in self._cluster.in_order(self.tasks):
            found = None
            with batch.item(task.name) if batch else nullcontext(Item()) as item:
                item.outputs = [out] if out else []
                found = _take(done, item)
            progress.advance(1, task.video_id)
            if found is not None:
                yield found

    def answers(self, turns: Turns[Task], progress: Progress = SILENT) -> Answers:
        """Yield each turn with its answer, in the order in which they are done."""
        for turn, done in as_done(turns, self._cluster):
            if done is not None:
                progress.advance(1, turn.one.video_id)
            yield turn, lambda item, done=done: _take(done, item)  # type: ignore[misc]


def _take(done: Done, item: Item) -> Localization:
    """The answer; what was noted of the clip goes to the report."""
    found, noted = done.get()
    item.frames, item.declared_frames, item.message = noted.frames, noted.declared_frames, noted.message
    if noted.message:
        log.info("%s: %s", found.track.video_id, noted.message)
    answer: Localization = found
    return answer
