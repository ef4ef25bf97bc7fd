"""Downloading the tiles under given places into a folder: those that are there already are not asked for again."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgeo.errors import InputError, ServerError, SettingError, UsageError, VgeoError
from vgeo.formats.tile_folder import TileFolder, TileSource, check_folder, stored
from vgeo.formats.tile_template import TileTemplate
from vgeo.logs import SILENT, Progress
from vgeo.records import Outcome
from vgeo.stages.batch import Batch
from vgeo.stages.tile_areas import Box, Source, covering
from vgeo.stages.tile_server import Manners, TileServer

log = logging.getLogger(__name__)

Tile = tuple[int, int]

MAX_TILES = 10_000
TYPICAL_BYTES = 20_000  # ours, for estimates: imagery of 256 x 256 pixels as JPEG
GIVE_UP = 10  # so many tiles in a row that failed, other than by not being there: the server has a problem
_SAME_PICTURES = 10  # and a tenth of all: a server's way of saying "no imagery here"


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """What is to be fetched."""

    template: TileTemplate
    attribution: str
    zoom: int
    size_px: int
    out: Path
    tiles: list[Tile]  # all that cover the places
    missing: list[Tile]  # of them, what is not in the folder

    def name(self, tile: Tile) -> str:
        """A tile as zoom/x/y."""
        return f"{self.zoom}/{tile[0]}/{tile[1]}"

    @property
    def source(self) -> TileSource:
        """Whose tiles they are."""
        return TileSource(template=self.template.public, attribution=self.attribution, size_px=self.size_px)


def plan_tiles(
    template: TileTemplate,
    areas: Sequence[Source],
    out: Path,
    attribution: str,
    *,
    zoom: int,
    bbox: Box | None = None,
    across: int = 1,
    margin_m: float = 0.0,
    size_px: int = 256,
    max_tiles: int = MAX_TILES,
) -> TilePlan:
    """Find the tiles that are needed and not in `out`; touches neither the network nor the disk.

    areas, bbox, across, margin_m: as in `covering`. size_px: of a tile's side, as the server sends it.
    Raises UsageError for more than `max_tiles`, InputError, FormatError, and as `check_folder`.
    """
    if not attribution.strip():
        raise UsageError("--attribution: must say whose imagery it is")
    tiles = [(int(x), int(y)) for x, y in covering(areas, zoom, bbox=bbox, across=across, margin_m=margin_m)]
    have = stored(out, zoom)
    plan = TilePlan(
        template=template, attribution=attribution.strip(), zoom=zoom, size_px=size_px, out=out, tiles=tiles,
        missing=[tile for tile in tiles if tile not in have],
    )  # fmt: skip
    check_folder(out, plan.source)
    if len(plan.missing) > max_tiles:
        raise UsageError(
            f"{len(plan.missing):,} tiles are more than --max-tiles {max_tiles:,}; raise it if the server's terms allow"
        )
    return plan


def fetch_tiles(
    plan: TilePlan, manners: Manners = Manners(), *, report: Path | None = None, progress: Progress = SILENT
) -> list[Outcome]:
    """Fetch what is missing into `plan.out`; return one outcome for each tile.

    A tile whose answer is not a whole picture of the right size is not stored, and its outcome says why.
    Raises what ends the run for all tiles: SettingError where the server refuses (401, 403), BusyError where it asks to
    come again much later or another process writes into the folder, ServerError where it does not answer or `GIVE_UP`
    tiles failed one after the other; OutputError, DiskError. What was fetched stays.
    """
    with Batch(report) as batch, TileFolder(plan.out, plan.source, plan.zoom, plan.tiles) as folder:
        for tile in sorted(set(plan.tiles) - set(plan.missing)):
            with batch.item(plan.name(tile)) as item:
                item.skip("was there")
        progress.start("fetch-tiles", total=len(plan.missing), unit="tiles")
        run = _Run(plan=plan, batch=batch, folder=folder, progress=progress)
        try:
            asyncio.run(run.all(manners))
        except ExceptionGroup as several:  # of the workers, the first that met a reason to stop
            raise several.exceptions[0] from None
        finally:
            run.summarize()
    return batch.outcomes


class _Run:
    """One run's counts, while workers take one tile after the other."""

    def __init__(self, *, plan: TilePlan, batch: Batch, folder: TileFolder, progress: Progress) -> None:
        self._plan, self._batch, self._folder, self._progress = plan, batch, folder, progress
        self._in_a_row, self._bytes = 0, 0
        self._pictures: Counter[int] = Counter()

    async def all(self, manners: Manners) -> None:
        """Fetch every missing tile."""
        if not self._plan.missing:
            return
        asyncio.get_running_loop().set_exception_handler(_say)
        rest = iter(self._plan.missing)
        async with TileServer(manners) as server, asyncio.TaskGroup() as group:
            for _ in range(min(manners.workers, len(self._plan.missing))):
                group.create_task(self._work(server, rest))

    async def _work(self, server: TileServer, rest: Iterator[Tile]) -> None:
        for tile in rest:
            answer: bytes | VgeoError
            try:
                answer = await server.get(self._plan.template.url(*tile, self._plan.zoom))
            except VgeoError as error:
                answer = error
            failed = self._finish(tile, answer)
            self._check(failed, server)
            self._progress.advance(1)

    def _finish(self, tile: Tile, answer: bytes | VgeoError) -> VgeoError | None:
        """Store a tile and note its outcome; return why it failed."""
        failed = None
        with self._batch.item(self._plan.name(tile)) as item:
            try:
                if isinstance(answer, VgeoError):
                    raise answer
                item.outputs = [str(self._folder.store(tile, answer))]
                self._bytes += len(answer)
                self._pictures[hash(answer)] += 1
            except VgeoError as error:
                failed = error
                raise type(error)(f"tile {self._plan.name(tile)}: {error}") from error
        return failed

    def _check(self, failed: VgeoError | None, server: TileServer) -> None:
        """Raise where going on makes no sense."""
        if isinstance(failed, SettingError):
            raise SettingError(f"{failed}: stopped; is the key right, and may you fetch these tiles?")
        if failed is None or isinstance(failed, InputError):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if not server.answered:
            raise ServerError(f"the server cannot be reached: {failed}")
        if self._in_a_row >= GIVE_UP:
            raise ServerError(
                f"{GIVE_UP} tiles in a row failed, the last by this: {failed}; stopped, run again to go on"
            )

    def summarize(self) -> None:
        """Say what was fetched."""
        plan, done = self._plan, sum(outcome.status == "done" for outcome in self._batch.outcomes)
        log.info(
            "%s: %d of %d tiles fetched (%.1f MB), %d were there; %s",
            plan.out, done, len(plan.missing), self._bytes / 1e6, len(plan.tiles) - len(plan.missing), plan.attribution,
        )  # fmt: skip
        same = max(self._pictures.values(), default=0)
        if same >= _SAME_PICTURES and same > done / 10:
            log.warning("%s: %d tiles are one and the same picture, perhaps of 'no imagery here'", plan.out, same)


def _say(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong outside of any call; not that a worker was at it when the program was told to end."""
    if not isinstance(context.get("exception"), SystemExit):
        loop.default_exception_handler(context)
