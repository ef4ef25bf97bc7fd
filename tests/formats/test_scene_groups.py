"""The table of the 365 categories' groups: mixing by hand, and what is wrong with others, by its line."""

import logging
from pathlib import Path

import numpy as np
import pytest
from scenemaker import memberships, write_groups

from vgeo.errors import FormatError, InputError
from vgeo.formats.scene_groups import read_scene_groups


def test_a_category_is_shared_by_its_groups(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        groups = read_scene_groups(write_groups(tmp_path / "h.csv", memberships()))
    assert groups.shape == (365, 16) and groups.dtype == np.float32 and caplog.text == ""
    assert groups[0, 0] == groups[0, 3] == 0.5 and groups[1, 1] == 1
    np.testing.assert_allclose(groups.sum(1), 1)
    np.testing.assert_array_equal(groups > 0, memberships() > 0)


def test_rows_in_another_order_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"/a/{c:03d}" for c in range(365)]
    names[7], names[8] = names[8], names[7]
    with caplog.at_level(logging.WARNING):
        read_scene_groups(write_groups(tmp_path / "h.csv", memberships(), names))
    assert "not in alphabetical order" in caplog.text and "see /a/008" in caplog.text


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    with pytest.raises(InputError, match="no such file"):
        read_scene_groups(path)
    with pytest.raises(FormatError, match="364 categories after 2 header rows, not 365"):
        read_scene_groups(write_groups(path, memberships()[:364]))
    flags = memberships()
    flags[2] = 0
    with pytest.raises(FormatError, match=r"line 5: '/a/category_002' is in no group"):
        read_scene_groups(write_groups(path, flags))
    flags[2, 0] = 2
    with pytest.raises(FormatError, match="line 5: not a category, 3 and 16 flags"):
        read_scene_groups(write_groups(path, flags))
    with pytest.raises(FormatError, match="line 3: not a category"):
        read_scene_groups(write_groups(path, memberships()[:, :15]))
    with pytest.raises(FormatError, match="names /a/x twice"):
        read_scene_groups(write_groups(path, memberships(), ["/a/x"] * 365))
    path.write_text("")
    with pytest.raises(FormatError, match="0 categories"):
        read_scene_groups(path)
