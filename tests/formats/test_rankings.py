"""Rankings as JSON: read in pieces, written in pieces, and refused where they are not what they should be."""

import gzip
import io
import json
import sys

import numpy as np
import pytest
from rankingmaker import of_lists

from vgeo.errors import FormatError, InputError
from vgeo.formats import rankings as module
from vgeo.formats.rankings import NONE, ranked, read_rankings, write_rankings

LISTS = {"v1_3": ["v1_3", "v2_0", "v1_3"], "v2_0": [], 'odd "name" ]}': ["ß]", "a\\b", "v2_0"], "v9_0": ["日本_1"]}


@pytest.fixture(params=[1, 2, 7, 2**20])
def block(request, monkeypatch):
    """However the text is cut into pieces, the same is read."""
    monkeypatch.setattr(module, "_BLOCK", request.param)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii", [True, False])
def test_what_json_wrote_is_read(tmp_path, block, indent, ascii):
    path = tmp_path / "clips.json"
    path.write_text(json.dumps(LISTS, indent=indent, ensure_ascii=ascii), encoding="utf-8")
    found = read_rankings(path)
    assert dict(found.items()) == LISTS
    assert len(found.ids) == len(set(found.ids)) == 5


def test_what_is_written_is_json(tmp_path):
    path = tmp_path / "clips.json"
    write_rankings(path, of_lists(LISTS))
    assert json.loads(path.read_text(encoding="utf-8")) == LISTS
    assert list(json.loads(path.read_text(encoding="utf-8"))) == list(LISTS)


def test_compressed_by_suffix(tmp_path):
    one, other = tmp_path / "a.json.gz", tmp_path / "b.json.gz"
    write_rankings(one, of_lists(LISTS))
    write_rankings(other, of_lists(LISTS))
    assert json.loads(gzip.decompress(one.read_bytes())) == LISTS
    assert one.read_bytes() == other.read_bytes()
    assert dict(read_rankings(one).items()) == LISTS


def test_stdin_and_stdout(monkeypatch, capsysbinary):
    write_rankings("-", of_lists(LISTS))
    text = capsysbinary.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert dict(read_rankings("-").items()) == LISTS


def test_nothing_to_write_is_an_empty_object(capsysbinary):
    write_rankings("-", of_lists({}))
    assert json.loads(capsysbinary.readouterr().out) == {}


def test_from_rows_of_a_gallery():
    found = ranked(["a", "b"], ["t0", "t1", "t1", "t3"], np.array([[3, 2, 1], [0, NONE, NONE]]))
    assert dict(found.items()) == {"a": ["t3", "t1", "t1"], "b": ["t0"]}


def test_padded_rows():
    found = of_lists(LISTS)
    names = [*found.ids, None]
    padded = found.padded(np.array([3, 0, 1]), 2)
    assert [[names[n] for n in row] for row in padded.tolist()] == [["日本_1", None], ["v1_3", "v2_0"], [None, None]]
    assert found.padded(np.array([1]), 5).shape == (1, 0)
    assert found.padded(np.array([0, 2]), 99).shape == (2, 3)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{}", "no queries"),
        ('{"a": ["x"]', "is the file whole"),
        ('{"a": ["x"', "not JSON in query 'a'"),
        ('{"a": ["x"],', "a query is expected"),
        ('{"a": ["x"],}', "a query is expected"),
        ('{"a": ["x"]} {"b": []}', "goes on after its end"),
        ('{"a" ["x"]}', "':' is expected after query 'a'"),
        ('{"a": "x"}', "has 'x', not a list"),
        ('{"a": 7}', "not a list"),
        ('{"a": {"x": 1}}', "has an object, not a list"),
        ('{"a": ["x", 3]}', "has '3' in its list"),
        ('{"a": ["x", null]}', "has null in its list"),
        ('{"a": [["x"]]}', "has a list in its list"),
        ('{"a": [NaN]}', "NaN"),
        ('{"a": ["x"], "a": ["y"]}', "query 'a' comes twice"),
        ('{1: ["x"]}', "a query is expected"),
        ('{"a": ' + "[" * 100_000, "no list of ids"),
    ],
)
def test_what_is_no_ranking_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "clips.json"
    path.write_text(text)
    with pytest.raises((FormatError, InputError)) as caught:
        read_rankings(path)
    assert said in str(caught.value)
    assert "clips.json" in str(caught.value)


def test_a_missing_and_a_damaged_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_rankings(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"a": ["\xff"]}')
    with pytest.raises(FormatError, match="UTF-8"):
        read_rankings(tmp_path / "latin.json")
    write_rankings(tmp_path / "cut.json.gz", of_lists(LISTS))
    (tmp_path / "cut.json.gz").write_bytes((tmp_path / "cut.json.gz").read_bytes()[:-9])
    with pytest.raises(FormatError, match="damaged"):
        read_rankings(tmp_path / "cut.json.gz")


def test_a_list_without_an_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 64)
    monkeypatch.setattr(module, "_LONGEST_VALUE", 1000)
    (tmp_path / "long.json").write_text('{"a": [' + '"x",' * 5000)
    with pytest.raises(FormatError, match="more than"):
        read_rankings(tmp_path / "long.json")


def test_too_many_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_IDS", 3)
    (tmp_path / "many.json").write_text('{"a": ["x", "x"], "b": ["x", "x"]}')
    with pytest.raises(FormatError, match="keep fewer"):
        read_rankings(tmp_path / "many.json")
