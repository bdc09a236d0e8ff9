"""What a sentence takes over of what libraries say."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from evojax_prune.core.errors import UserError, described, said_of
from evojax_prune.core.options import MOST
from evojax_prune.core.protocol import Protocol
from evojax_prune.data import load
from evojax_prune.run.config import RunConfig, validated


@pytest.mark.parametrize(
    ("error", "said", "named"),
    [
        (ValueError("no\n such\x07 key"), "no such\\x07 key", "ValueError: no such\\x07 key"),
        (ValueError(), "ValueError", "ValueError"),
        (OSError(28, "No space left"), "[Errno 28] No space left", None),
    ],
)
def test_an_exception_in_one_line(error: Exception, said: str, named: str | None) -> None:
    assert said_of(error) == said
    assert described(error) == (named or f"{type(error).__name__}: {said}")


def test_long_messages_are_cut() -> None:
    assert said_of(KeyError("x" * 5000)) == f"'{'x' * 299}... (5,002 characters)"


def test_a_damaged_archive_does_not_fill_the_screen(tmp_path: Path) -> None:
    """zipfile tells both names of a member that has two, however long."""
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("x_train.npy" + "\x01" * 3000, b"")
    content = (tmp_path / "t.npz").read_bytes()
    other = content.replace(b"\x01", b"\x02", 1)
    (tmp_path / "t.npz").write_bytes(other)
    with pytest.raises(UserError) as raised:
        load(str(tmp_path / "t.npz"))
    assert 100 < len(str(raised.value)) < 600


def test_of_many_impossible_settings_the_first_are_told() -> None:
    wrong: dict[str, object] = {name: {"x": "x" * 2000} for name in RunConfig.model_fields}
    wrong |= {"y" * 2000: 1} | {f"z{i}": i for i in range(200)}
    with pytest.raises(UserError) as raised:
        validated(wrong)
    sentence = str(raised.value)
    assert sentence.count("characters), expected") == MOST
    assert "unknown settings" in sentence
    assert sentence.count("valid: ") <= 1
    assert sentence.endswith(" more like these")
    assert len(sentence) < 3000


def test_steps_that_few_rows_reach_in_too_many_epochs_are_refused() -> None:
    protocol = Protocol(epochs=1, steps=2_000_000)
    assert protocol.for_rows(64).epochs == 1_000_000
    with pytest.raises(UserError, match="24 rows reach in 2,000,000 epochs, expected at most"):
        protocol.for_rows(24)
