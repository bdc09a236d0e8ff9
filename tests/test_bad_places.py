"""What stands in the way of the results, and what the machine refuses: one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hostile_cases import DENSE, Make, Refused, X, content, link, pruned, saved
from test_bad_files import FEATURES, IMAGES, SETTINGS
from test_bad_words import OF_RUNS, WORDS

from evojax_prune.cli import main as command
from evojax_prune.run import data as loading

pytestmark = pytest.mark.usefixtures("in_time")


def put(name: str, make: Make) -> Make:
    def at(here: Path) -> None:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        make(here / name)

    return at


STATE = "run.partial/state"


OBSTACLES: dict[str, tuple[Make, str]] = {
    "output is a link to nothing": (put("run", link("nowhere")), "a link that leads nowhere"),
    "output is a link to itself": (put("run", link("run")), "a link that leads nowhere"),
    "output is a pipe": (put("run", os.mkfifo), "run is a file, expected a folder"),
    "a file for the state": (put("run.partial", content(b"")), "partial is a file, but an unfin"),
    "a link for the state": (put("run.partial", link("nowhere")), "is a link that leads nowhere"),
    "a file for a folder": (
        put(STATE, content(b"")),
        "cannot make the folder {here}/run.partial/s",
    ),
    "a link for the state of the search": (
        put(STATE, link("../..")),
        "state is a link, but an unfinished run is kept in a folder of that name",
    ),
    "a link for the unfinished run": (put("run.partial", link(".")), "run.partial is a link, but"),
    "a folder for the lock": (put(f"{STATE}/lock", Path.mkdir), "cannot lock {here}/run.partial"),
    "a folder for the journal": (put(f"{STATE}/journal.jsonl", Path.mkdir), "cannot discard what"),
    "a folder for the report": (
        put("run/report.html", Path.mkdir),
        "{here}/run/report.html is a folder, but a file of that name is to be written",
    ),
    "a folder for the settings": (
        put("run.partial/config.yaml", Path.mkdir),
        "cannot write {here}",
    ),
}


@pytest.mark.parametrize("case", OBSTACLES)
def test_obstacles(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, said = OBSTACLES[case]
    make(tmp_path)
    words = ["--dataset", str(saved(tmp_path / "t.npz")), "--output", str(tmp_path / "run")]
    assert command.main([*words, *DENSE, "--overwrite"]) == 2
    err = capsys.readouterr().err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said.format(here=tmp_path) in last
    assert "to go on" not in err
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize("place", ["run", "run/cache"])
def test_a_cache_in_the_output(
    place: str, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOJAX_PRUNE_CACHE", str(tmp_path / place))
    words = ["--dataset", str(saved(tmp_path / "t.npz")), "--output", str(tmp_path / "run")]
    refused(words, f"EVOJAX_PRUNE_CACHE is {tmp_path / place}, inside --output {tmp_path}/run")


def test_a_time_that_is_none(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "abc")
    refused(["--dataset", "digits"], "SOURCE_DATE_EPOCH is 'abc', expected whole seconds: unset it")


def test_settings_of_an_unfinished_run_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    put("run.partial/config.yaml", content(b"\xff"))(tmp_path)
    pruned(tmp_path, *DENSE, "--overwrite")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("std::bad_alloc"), "the memory that this process may use is too small"),
        (ImportError("x.so: failed to map segment from shared object"), "the memory that this"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "the device's memory is used up"),
        (RuntimeError("INVALID_ARGUMENT: Disallowed host-to-device"), "unset JAX_TRANSFER_GUARD"),
    ],
)
def test_what_the_machine_refuses(
    error: Exception, said: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(command, "run", fail)
    refused(["--dataset", "digits"], said)


def test_features_that_a_run_has_no_memory_for(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "total_memory", lambda: 8.0 * X.nbytes - 1)
    words = ["--dataset", str(saved(tmp_path / "t.npz")), "--hidden", "1"]
    refused(words, "a run on the features of t takes 0 GB, more than this machine's memory")


def test_the_table_is_long() -> None:
    assert sum(map(len, (WORDS, OF_RUNS, FEATURES, SETTINGS, IMAGES, OBSTACLES))) >= 120
