"""What `vgeo methods` says, read from the methods' own files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vgeo import methods
from vgeo.methods.settings import SettingInfo, describe

if TYPE_CHECKING:
    from vgeo.stages.costs import MethodCosts


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodInfo:
    """One method: facts that its file states."""

    name: str
    title: str
    paper: str
    needs: str
    gives: str
    gallery: str
    phases: tuple[str, ...]
    license_note: str
    settings: list[SettingInfo] = field(default_factory=list)
    costs: "MethodCosts | None" = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; without settings and costs when none were asked for."""
        values = asdict(replace(self, costs=None)) | {"costs": self.costs and self.costs.to_json()}
        return {key: value for key, value in values.items() if key not in ("settings", "costs") or value}


def describe_methods(
    name: str | None = None,
    with_settings: bool = False,
    costs_of: Sequence[str] | None = None,
    clip_frames: int = 16,
) -> list[MethodInfo]:
    """Facts about all methods, or about one. Raises UsageError for an unknown name.

    costs_of: settings, `key=value`, at which to count what they cost, for clips of `clip_frames` frames; None: do not.
    Raises SettingError for settings that are none.
    """
    infos = []
    for one in [name] if name else methods.names():
        method = methods.get(one)
        infos.append(
            MethodInfo(
                name=one,
                title=method.title,
                paper=method.paper,
                needs=method.needs,
                gives=method.gives,
                gallery=method.gallery_kind,
                phases=method.phases,
                license_note=method.license_note,
                settings=describe(method.Config) if with_settings else [],
                costs=_costs(one, costs_of, clip_frames),
            )
        )
    return infos


def _costs(name: str, settings: Sequence[str] | None, clip_frames: int) -> "MethodCosts | None":
    if settings is None:
        return None
    from vgeo.stages.costs import count_costs

    return count_costs(name, settings, clip_frames)
