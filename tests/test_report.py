"""What a report says is right, and what it writes can be used."""

from __future__ import annotations

import errno
import io
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from evojax_prune.analysis.paired import accuracy_interval, paired_difference
from evojax_prune.cli import progress
from evojax_prune.core.compact_head import compact_head, read_heads, save_heads
from evojax_prune.core.errors import UserError
from evojax_prune.core.files import os_errors
from evojax_prune.core.flax_head import Head
from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.head_card import DataCard, HeadCard
from evojax_prune.core.masks import apply_mask
from evojax_prune.core.mode import MODES
from evojax_prune.core.objective import Objective
from evojax_prune.core.pruning import Pruning, decode
from evojax_prune.methods.found import Trials
from evojax_prune.report import figures
from evojax_prune.run.store import MARK, PartialFolder

CARD = HeadCard(
    backbone=None,
    features=6,
    classes=("a", "b", "c"),
    hidden=(5, 4),
    mode="both",
    grain="neurons",
    data=DataCard(name="blobs", version="1", digest="0", train=1, selection=1, test=1),
    metrics={},
    sentence="",
    written_by="1",
)

pytestmark = pytest.mark.pictures


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_compact_head_is_the_masked_one(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(sorted(MODES)))
    grain = data.draw(st.sampled_from(("neurons", "connections")))
    spec = head_spec(mode, 6, 3, (5,) if mode == "features" else (5, 4))
    length = Pruning(spec, MODES[mode], grain).genome_length
    density = data.draw(st.sampled_from((0.0, 0.3, 0.7, 1.0)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    masks = decode(rng.random((2, length)) < density, spec, mode, grain)
    params = init_params(spec, 1)
    for layer in params.values():
        layer["kernel"] = layer["kernel"] + rng.normal(size=layer["kernel"].shape).astype("f4")
        if "bias" in layer:
            layer["bias"] = rng.normal(size=layer["bias"].shape).astype("f4")
    x = rng.normal(size=(7, 6)).astype("f4")
    whole = Head(spec).apply({"params": apply_mask(params, masks, 1)}, x)
    np.testing.assert_allclose(
        compact_head(params, masks, 1).logits(x), np.asarray(whole), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("folds", [1, 12])
def test_heads_are_read_back_as_they_were_written(tmp_path: Path, folds: int) -> None:
    spec = head_spec("both", 6, 3, (5, 4))
    masks = decode(np.random.default_rng(0).random((folds, 9)) < 0.5, spec, "both")
    heads = tuple(compact_head(init_params(spec, f), masks, f) for f in range(folds))
    save_heads(tmp_path / "head.safetensors", heads, CARD)
    x = np.random.default_rng(1).normal(size=(4, 6)).astype("f4")
    read, card = read_heads(tmp_path / "head.safetensors")
    assert card == CARD
    assert len(read) == folds
    for a, b in zip(read, heads, strict=True):
        np.testing.assert_array_equal(a.logits(x), b.logits(x))
    for i in range(5):
        save_heads(tmp_path / "again", heads, CARD)
        if i == 0:
            first = (tmp_path / "again").read_bytes()
        assert (tmp_path / "again").read_bytes() == first


def test_active_units_are_those_that_keep_a_weight() -> None:
    spec = head_spec("both", 6, 3, (2, 2))
    pruning = Pruning(spec, MODES["both"], "neurons")
    assert pruning.active_units(pruning.masks(np.array([[1, 0, 1, 1]], bool)), 0) == 3
    features = Pruning(head_spec("features", 3, 2, (2,)), MODES["features"], "connections")
    genome = np.array([[1, 0, 0, 0, 1, 1]], bool)
    assert features.active_units(features.masks(genome), 0) == 2


def test_an_interval_holds_the_accuracy() -> None:
    low, high = accuracy_interval(0.9, 100)
    assert (round(low, 3), round(high, 3)) == (0.826, 0.945)  # Wilson, by hand
    assert accuracy_interval(1.0, 10)[1] == 1.0


def test_one_head_a_side_is_compared_by_mcnemar() -> None:
    first = np.array([[True] * 90 + [True] * 8 + [False] * 2])
    second = np.array([[True] * 90 + [False] * 8 + [True] * 2])
    difference = paired_difference(first, second)
    assert difference.value == pytest.approx(0.06)
    assert difference.p_value == pytest.approx(stats.binomtest(8, 10).pvalue)
    assert difference.low < 0 < difference.high
    assert difference.verdict == "within"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 50))
def test_interval_and_test_agree(gained: int, lost: int, same: int) -> None:
    rows = gained + lost + same + 1
    first = np.zeros((1, rows), bool)
    second = np.zeros((1, rows), bool)
    first[0, :gained] = True
    second[0, gained : gained + lost] = True
    difference = paired_difference(first, second)
    assert difference.low <= difference.value <= difference.high
    assert (difference.verdict == "within") == (difference.low <= 0 <= difference.high)
    turned = paired_difference(second, first)
    assert turned.value == -difference.value
    assert turned.p_value == pytest.approx(difference.p_value)


def test_folds_are_compared_by_their_rows() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((5, 200)) < 0.9, rng.random((5, 200)) < 0.7
    difference = paired_difference(first, second)
    assert difference.verdict == "better"
    assert difference.low < difference.value < difference.high


@pytest.mark.parametrize("whole_generation", [False, True])
def test_the_picture_is_drawn_even_if_training_diverged(
    tmp_path: Path, whole_generation: bool
) -> None:
    fitness = np.array([np.nan, 0.5, 0.7, np.nan, 0.6])
    if whole_generation:
        fitness[3:] = np.nan
    file = tmp_path / "convergence.png"
    trials = Trials(
        objectives=(Objective("accuracy", "fitness: accuracy"),),
        hashes=tuple("abcde"),
        active=np.array([1, 3, 5, 7, 9]),
        genome_length=10,
        values=fitness[:, None],
        generation=np.array([0, 0, 1, 2, 2]),
        columns={},
    )
    figure = figures.new_figure()
    figures.convergence(figure, trials, 0.65, "title")
    figures.save(figure, file)
    assert file.read_bytes().startswith(b"\x89PNG")


def lines_of(text: io.StringIO) -> list[str]:
    return text.getvalue().splitlines()


def test_progress_off_a_terminal_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    text = io.StringIO()
    with progress.stage(Console(file=text), "search", 100, "evaluations", parts=2) as shown:
        for step in range(200):
            now[0] += 0.1
            shown.advance(1)
            if step == 119:
                shown.reach(60, "generation 3, best 0.9000")
    said = lines_of(text)
    assert len(said) == 2
    assert said[0].startswith("search: 50/100 evaluations, 5.0/s, 10 s left")
    assert "generation 3, best 0.9000" in said[-1]
    assert said[-1].endswith("took 20 s")


def test_what_was_resumed_does_not_count_as_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown: list[str] = []
    stage = progress.Counter("search", 100, "evaluations", 1, lambda _, text: shown.append(text))
    stage.reach(80, "", skipped=True)
    now[0] = 5.0
    stage.reach(90, "")
    assert shown == ["search: 80/100 evaluations", "search: 90/100 evaluations, 2.0/s, 5 s left"]


def test_progress_on_a_terminal_is_a_bar() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, legacy_windows=False)
    with progress.stage(console, "search", 4, "evaluations") as shown:
        shown.reach(4, "generation 1")
    assert "4/4 evaluations, generation 1" in text.getvalue()


def test_notices_are_shown_among_the_progress() -> None:
    text = io.StringIO()
    with progress.show_notices(Console(file=text)):
        logging.getLogger("evojax_prune.somewhere").warning("entry %s is damaged", "x")
        logging.getLogger("evojax_prune.somewhere").info("for developers")
        logging.getLogger("evojax_prune").info("6 rows in 3 groups")
    logging.getLogger("evojax_prune").warning("not shown any more")
    assert lines_of(text) == ["note: entry x is damaged", "note: 6 rows in 3 groups"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words


# --- the output folder ---------------------------------------------------------------------------


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="--overwrite"):
        PartialFolder(tmp_path).check(overwrite=False)
    PartialFolder(tmp_path).check(overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("place", ["/proc/results", "/dev/null/results", "a file"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(UserError, match="--output"):
        PartialFolder(tmp_path / place).check(overwrite=False)


def test_a_path_through_a_folder_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with PartialFolder(tmp_path / "nowhere" / ".." / "out") as partial:
        partial.finish()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_checking_writes_nothing(tmp_path: Path) -> None:
    PartialFolder(tmp_path / "some" / "where").check(overwrite=False)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_leaves_only_the_results(tmp_path: Path) -> None:
    output = tmp_path / "results"
    with PartialFolder(output) as partial:
        assert not output.exists()
        partial.configure("a: 1\n", overwrite=False)
        (partial.path / MARK).write_text("{}")
        partial.finish()
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]
    assert {entry.name for entry in output.iterdir()} == {"config.yaml", "result.json"}


def test_overwriting_leaves_other_files_alone(tmp_path: Path) -> None:
    for name in ("mine.txt", MARK):
        (tmp_path / name).write_text("old")
    with (partial := PartialFolder(tmp_path)):
        partial.check(overwrite=True)
        (partial.path / MARK).write_text("new")
        partial.finish()
    assert (tmp_path / "mine.txt").read_text() == "old"
    assert (tmp_path / MARK).read_text() == "new"


def test_what_has_come_during_the_run_is_not_replaced(tmp_path: Path) -> None:
    partial = PartialFolder(tmp_path / "results")
    partial.check(overwrite=False)
    with partial:
        (partial.path / MARK).write_text("new")
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / MARK).write_text("mine")
        with pytest.raises(UserError, match=r"results\.partial, for something has"):
            partial.finish()
    assert (tmp_path / "results" / MARK).read_text() == "mine"
    assert (partial.path / MARK).read_text() == "new"
    (tmp_path / "results").rename(tmp_path / "away")
    with partial:
        partial.finish()
    assert (tmp_path / "results" / MARK).read_text() == "new"
    assert not partial.path.exists()


def _interrupt(journal: Path) -> None:
    journal.write_text("{}")
    raise KeyboardInterrupt


def _fill_the_disk(journal: Path) -> None:
    journal.write_text("{}")
    raise OSError(errno.ENOSPC, "full")


def test_an_interrupted_run_stays_and_bad_input_does_not(tmp_path: Path) -> None:
    partial = PartialFolder(tmp_path / "results")
    with pytest.raises(KeyboardInterrupt), partial:
        _interrupt(partial.journal)
    assert partial.journal.exists()
    with pytest.raises(UserError), PartialFolder(tmp_path / "others"):
        raise UserError("diverged")
    full = PartialFolder(tmp_path / "full")
    with pytest.raises(UserError), full, os_errors("write"):
        _fill_the_disk(full.journal)
    assert full.journal.exists()
    shutil.rmtree(full.path)
    with pytest.raises(UserError), PartialFolder(tmp_path / "results"):
        raise UserError("another run's")
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.partial"]


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        PartialFolder(tmp_path / "results"),
        pytest.raises(UserError, match="another run"),
        PartialFolder(tmp_path / "results"),
    ):
        pass


def test_overwrite_discards_the_interrupted_run_of_another_configuration(tmp_path: Path) -> None:
    with PartialFolder(tmp_path / "results") as partial:
        partial.configure("a: 1\n", overwrite=False)
        partial.journal.write_text("{}")
        partial.configure("a: 1\n", overwrite=True)
        assert partial.journal.exists()
        partial.configure("a: 2\n", overwrite=True)
        assert not partial.journal.exists()
