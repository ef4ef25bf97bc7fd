"""Settings: every type from text and from TOML, every refusal with its next step."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from vgeo.errors import InputError, SettingError
from vgeo.methods.settings import describe, differences, format_value, from_dict, given, resolve, to_dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    epochs: int = 10  # how long; Table 3
    learning_rate: float = 5e-5  # appendix A
    shuffle: bool = True
    title: str = "x#y"  # a hash in the default is no comment
    sigmas: tuple[float, ...] = (1.0, 16.0, 256.0)  # section 3.4
    mode: Literal["rows", "both"] = "rows"
    radius_m: float | None = None  # None: no softening
    widths: tuple[int, ...] = (
        512,
        1024,  # two of them
    )
    label: str | None = None

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError("epochs must not be negative")


@pytest.mark.parametrize(
    ("pair", "name", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("epochs=-0", "epochs", 0),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("learning_rate=2", "learning_rate", 2.0),
        ("shuffle=false", "shuffle", False),
        ("shuffle=YES", "shuffle", True),
        ("title=a=b", "title", "a=b"),
        ("title=", "title", ""),
        ("title=none", "title", "none"),
        ("sigmas=1,2.5, 3e2", "sigmas", (1.0, 2.5, 300.0)),
        ("sigmas=", "sigmas", ()),
        ("sigmas=7", "sigmas", (7.0,)),
        ("mode=both", "mode", "both"),
        ("radius_m=15", "radius_m", 15.0),
        ("radius_m=none", "radius_m", None),
        ("widths=3,4", "widths", (3, 4)),
        ("label=none", "label", None),
        ("label=here", "label", "here"),
    ],
)
def test_every_type_is_read_from_text(pair: str, name: str, value: object) -> None:
    found = getattr(resolve(Config, None, [pair]), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("epochs=1.5", ["epochs expects integer", "'1.5'"]),
        ("epochs=true", ["expects integer"]),
        ("epochs=", ["expects integer"]),
        ("learning_rate=fast", ["expects number", "'fast'"]),
        ("learning_rate=nan", ["expects number"]),
        ("learning_rate=inf", ["expects number"]),
        ("shuffle=maybe", ["true or false"]),
        ("sigmas=1,,2", ["expects number", "''"]),
        ("mode=columns", ["rows | both", "'columns'"]),
        ("radius_m=far", ["number | none"]),
        ("learning_rat=1", ["did you mean learning_rate?", "there are epochs, learning_rate"]),
        ("zzz=1", ["no setting 'zzz'; there are epochs"]),
        ("epochs", ["expected key=value"]),
        ("=3", ["expected key=value"]),
        ("epochs=-1", ["epochs must not be negative"]),
    ],
)
def test_refusals_say_what_and_what_instead(pair: str, words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        resolve(Config, None, [pair])
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 78


def test_toml_and_pairs_later_wins(tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text('epochs = 4\nlearning_rate = 1\nsigmas = [1, 2]\nradius_m = "none"\nmode = "both"\n')
    config = resolve(Config, toml, ["epochs=5", "epochs=6"])
    assert config == Config(epochs=6, learning_rate=1.0, sigmas=(1.0, 2.0), mode="both")
    assert all(type(s) is float for s in config.sigmas)


def test_given_holds_only_what_was_set(tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text("epochs = 10\n")
    assert given(Config, toml, ["sigmas=1"]) == {"epochs": 10, "sigmas": (1.0,)}
    assert given(Config) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs = true", "epochs expects integer, got True"),
        ("epochs = 1.0", "expects integer"),
        ("learning_rate = nan", "expects number"),
        ("learning_rate = true", "learning_rate expects number, got True"),
        ("epoch = 1", "did you mean epochs?"),
        ("sigmas = 3", "comma-separated list of number"),
        ("epochs = ", "not TOML"),
        ("[epochs]\na = 1", "expects integer"),
        ("learning_rate = " + "9" * 400, "expects number"),
        ("epochs = " + "9" * 5000, "not TOML"),
    ],
)
def test_bad_toml_names_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text(text)
    with pytest.raises(SettingError, match=r"c\.toml") as caught:
        resolve(Config, toml)
    assert words in str(caught.value)


def test_missing_toml_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        resolve(Config, tmp_path / "none.toml")


def test_dict_round_trip_through_json() -> None:
    config = resolve(Config, None, ["sigmas=1,8", "radius_m=15", "label=a"])
    text = json.dumps(to_dict(config))
    assert from_dict(Config, json.loads(text)) == config
    with pytest.raises(SettingError, match=r"config\.json: no setting 'old'"):
        from_dict(Config, {"old": 1}, "config.json")


def test_differences_names_each() -> None:
    a, b = to_dict(Config()), to_dict(Config(epochs=11, sigmas=(1.0,)))
    assert differences(a, a) == []
    assert differences(a, b) == ["epochs 10, now 11", "sigmas 1,16,256, now 1"]
    assert differences({"a": 0.5}, {}) == ["a 0.5, now none"]
    assert differences({"x": {"b": True, "c": 1}}, {"x": {"b": False, "c": 1}}) == ["b true, now false"]


def test_describe_reads_comments_of_the_source() -> None:
    infos = {info.name: info for info in describe(Config)}
    assert list(infos) == [
        "epochs", "learning_rate", "shuffle", "title", "sigmas", "mode", "radius_m", "widths", "label",
    ]  # fmt: skip
    assert infos["epochs"].note == "how long; Table 3"
    assert infos["title"].note == "a hash in the default is no comment"
    assert infos["shuffle"].note == ""
    assert infos["widths"].note == "two of them"
    assert infos["sigmas"].default == "1,16,256"
    assert infos["radius_m"].default == "none"
    assert infos["radius_m"].type == "number | none"
    assert infos["mode"].type == "rows | both"
    assert infos["learning_rate"].default == "5e-05"


def test_described_defaults_can_be_typed_back() -> None:
    for info in describe(Config):
        assert resolve(Config, None, [f"{info.name}={info.default}"]) == Config()


def test_describe_merges_bases() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Child(Config):
        epochs: int = 3  # shorter

    infos = {info.name: info for info in describe(Child)}
    assert infos["epochs"].note == "shorter"
    assert infos["sigmas"].note == "section 3.4"


def test_format_value_keeps_all_digits() -> None:
    assert format_value(0.1234567890123) == "0.1234567890123"
    assert format_value((1.0, None, True)) == "1,none,true"
