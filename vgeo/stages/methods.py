"""What `vgeo methods` says, read from the methods' own files."""

from dataclasses import asdict, dataclass, field
from typing import Any

from vgeo import methods
from vgeo.methods.settings import SettingInfo, describe


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

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; without settings when none were asked for."""
        return {key: value for key, value in asdict(self).items() if key != "settings" or value}


def describe_methods(name: str | None = None, with_settings: bool = False) -> list[MethodInfo]:
    """Facts about all methods, or about one. Raises UsageError for an unknown name."""
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
            )
        )
    return infos
