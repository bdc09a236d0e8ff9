"""Names of groups, and groups that the given splits share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evojax_prune.core.errors import UserError
from evojax_prune.data import ImageDataset, group_names, load
from evojax_prune.data.splitting.groups import check_overlap, tell_groups


def test_captures_are_joined() -> None:
    paths = ["train/rock/rock01-000.png", "test/rock/testrock04-31.png"]
    assert group_names(paths, r"(train|test)/.*?(\d\d)").tolist() == ["train01", "test04"]


def test_whole_match_without_captures() -> None:
    assert group_names(["a/p12-3.png"], r"p\d+").tolist() == ["p12"]


def test_capture_that_took_no_part_is_empty() -> None:
    assert group_names(["a/1.png", "b/2.png"], r"(a)?/(\d)").tolist() == ["a1", "2"]


EYES = ["a/1_left.png", "a/1_right.png", "b/2_left.png", "b/2_right.png", "b/control.png"]


def test_a_named_group_decides() -> None:
    joined = group_names(EYES, r"(\d+)_(left|right)|([^/]+)$")
    assert joined.tolist() == ["1left", "1right", "2left", "2right", "control.png"]
    named = group_names(EYES, r"(?P<group>\d+)_(left|right)|[^/]+$")
    assert named.tolist() == ["1", "1", "2", "2", "control.png"]
    assert group_names(EYES, r"(?P<group>.)/(?P<eye>.)").tolist() == ["a", "a", "b", "b", "b"]


def test_groups_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "evojax_prune"):
        tell_groups({"train": np.array(["a", "b", "b"]), "test": np.array(["c", "b", "a"])})
    assert caplog.messages == ["6 rows in 3 groups, largest: 'b' (3), 'a' (2), 'c' (1)"]


def test_groups_of_one_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    tell_groups({"all": group_names(EYES, r"(\d+)_(left|right)|([^/]+)$")})
    assert "5 of 5 rows are a group of their own" in caplog.text
    assert "(?P<group>...)" in caplog.text
    caplog.clear()
    tell_groups({"all": group_names(EYES, r"(?P<group>\d+)_(left|right)|[^/]+$")})
    assert not caplog.text


def test_one_group_per_hand(shared_data: Path) -> None:
    data = load(str(shared_data / "rps28"))
    assert isinstance(data, ImageDataset)
    found = {
        name: np.unique(group_names(split.paths, r"(train|test)/.*?(\d\d)")).tolist()
        for name, split in data.splits.items()
    }
    assert found == {
        "train": [f"train0{i}" for i in range(1, 8)],
        "test": [f"test0{i}" for i in range(1, 5)],
    }


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("z", "'z' matches none of 2 image paths, .* such as 'a/1.png'"),
        ("a", "'a' does not match 1 of 2 image paths, .* such as 'b/1.png'"),
        ("(", r"--groups '\(' is not a regular expression"),
        ("(" * 5000 + ")" * 5000, "is not a regular expression"),
        ("a{" + "9" * 50 + "}", "is not a regular expression"),
    ],
)
def test_bad_pattern(pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        group_names(["a/1.png", "b/1.png"], pattern)


def test_overlap_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    train, test = np.array(["a", "a", "b", "c"]), np.array(["a", "c", "c", "d"])
    told = (
        r"share 2 groups, with 3 training and 3 test examples: "
        r"'a' \(2 training and 1 test examples\), 'c' \(1 training and 2 test examples\)"
    )
    with pytest.raises(UserError, match=told + ".*--allow-group-overlap"):
        check_overlap(train, test, allowed=False)
    check_overlap(train, test, allowed=True)
    assert "share 2 groups" in caplog.text


def test_no_overlap(caplog: pytest.LogCaptureFixture) -> None:
    check_overlap(np.array(["a"]), np.array(["b"]), allowed=False)
    assert not caplog.text


def test_many_shared_groups_are_shortened() -> None:
    groups = np.array([str(i) for i in range(10, 30)])
    with pytest.raises(UserError, match=r"'14' .* and 15 more;"):
        check_overlap(groups, groups, allowed=False)
