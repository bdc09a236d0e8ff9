"""Every file that is written, with every fault that a disk has: a sentence, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from hostile_cases import DENSE, SEARCH, saved
from safetensors import SafetensorError

from evojax_prune.cli import main as command
from evojax_prune.core import files
from evojax_prune.core.errors import UserError
from evojax_prune.features import cache
from evojax_prune.report import figures, writers
from evojax_prune.report.pruned import Pruned
from evojax_prune.run import run as running
from evojax_prune.run import store
from evojax_prune.search import journal  # noqa: F401  before a fault replaces what it imports

FULL = Path("/dev/full")


class Killed(BaseException):
    """The process ends here: nothing catches it but what a real end would run into as well."""


KINDS = {
    "full": "the disk is full: make room",
    "quota": "the disk quota is used up",
    "read-only": "the file system is read-only",
    "limit": "the file would be larger than is allowed here",
    "rename": "the disk reports an error",
    "killed": "",
}
"""Faults, and what the sentence says of each."""


NUMBERS = {"quota": errno.EDQUOT, "read-only": errno.EROFS}


@contextlib.contextmanager
def _while_writing(kind: str, path: Path) -> Iterator[None]:
    """What happens to one write; the fault is the system's own where that can be had."""
    if kind in NUMBERS:
        raise OSError(NUMBERS[kind], os.strerror(NUMBERS[kind]))
    if kind == "full" and path.suffix == ".safetensors":  # its library does not follow the link
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if kind == "full":
        name = f".{path.name}.{os.getpid()}-{threading.get_ident()}.part"
        path.with_name(name).symlink_to(FULL)
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def fault(kind: str, name: str) -> Iterator[list[str]]:
    """One kind of fault at each write of files of a name or pattern; the list tells of it."""
    if kind == "full" and not FULL.exists():
        pytest.skip("there is no /dev/full")
    happened, errors, replace = list[str](), files.os_errors, os.replace

    @contextlib.contextmanager
    def failing(doing: str, size: int | None = None) -> Iterator[None]:
        path = Path(doing.removeprefix("write "))
        with errors(doing, size):
            if not doing.startswith("write ") or not fnmatch(path.name, name):
                yield
                return
            happened.append(kind)
            with _while_writing(kind, path):
                yield

    def move(source: Path, target: Path) -> None:
        if fnmatch(Path(target).name, name):
            happened.append(kind)
            if kind == "killed":
                raise Killed
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        if kind in ("rename", "killed"):
            patch.setattr(os, "replace", move)
        else:
            patch.setattr(files, "os_errors", failing)
        yield happened


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


Run = Callable[[Path], int]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("table") / "t.npz")


@pytest.fixture(scope="module")
def finished(table: Path) -> tuple[Run, dict[str, bytes]]:
    """The command of a run whose training is done once for all; and what it writes."""
    kept: list[Pruned] = []
    train = running.Run.__call__

    def once(self: running.Run) -> Pruned:
        if not kept:
            kept.append(train(self))
        return kept[0]

    def run(output: Path) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running.Run, "__call__", once)
            patch.setattr(figures, "save", lambda _, path: path.write_bytes(b"picture"))
            return command.main(["--dataset", str(table), "--output", str(output), *DENSE])

    output = table.parent / "reference"
    assert run(output) == 0
    return run, contents(output)


OWN = [*writers.ESSENTIAL, *writers.WRITERS]
QUICK = [(name, kind) for name in OWN for kind in ("full", "killed") if name[-3:] != "png"]
QUICK += [("result.json", kind) for kind in NUMBERS] + [
    *(("head.safetensors", "limit"), ("front.png", "full"), ("convergence.png", "limit")),
    *(("result.json", "rename"), ("best_mask.npz", "limit")),
]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[] if (name, kind) in QUICK else pytest.mark.slow)
        for name in OWN
        for kind in KINDS
    ],
)
def test_a_result_that_cannot_be_written_is_written_by_the_same_command(
    name: str,
    kind: str,
    finished: tuple[Run, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, reference = finished
    output = tmp_path / "run"
    with fault(kind, name) as happened, contextlib.suppress(Killed):
        assert run(output) == 2
    assert happened
    err = capsys.readouterr().err
    if kind != "killed":
        last = err.splitlines()[-1]
        assert last.startswith("error: ")
        assert f"cannot write {output}.partial/{name}" in last
        assert KINDS[kind] in last
        assert ("to go on: " in err) == (name != "config.yaml")  # that is the first one
    if name in writers.WRITERS and kind != "killed":  # all else is already there
        assert contents(output) == {k: v for k, v in reference.items() if k != name}
    else:
        assert not output.exists()
    assert run(output) == 0
    assert contents(output) == reference
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_is_killed_while_it_moves_its_results_is_finished(
    there: bool, last: bool, finished: tuple[Run, dict[str, bytes]], tmp_path: Path
) -> None:
    """To a new folder they move at once; to one that is there already one by one."""
    run, reference = finished
    output, replace, moved = tmp_path / "run", os.replace, []
    if there:
        output.mkdir()

    def move(source: Path, target: Path) -> None:
        if Path(target) == output or Path(target).parent == output:
            moved.append(target)
            if there and Path(target).name == "result.json":  # which says that all is there
                assert {file.name for file in output.iterdir()} == {*reference} - {"result.json"}
            if not last or Path(target).name == "result.json":
                raise Killed
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(os, "replace", move)
        run(output)
    assert moved
    assert run(output) == 0 if there or not last else output.exists()
    assert contents(output) == reference
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_what_is_left_of_a_finished_run_that_was_killed_at_once_is_removed(
    finished: tuple[Run, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, reference = finished
    output = tmp_path / "run"

    def killed(_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(store, "remove_folder", killed)
        run(output)
    assert (output / store.STATE).is_dir()
    assert run(output) == 2  # as after every finished run
    assert "is not empty" in capsys.readouterr().err
    assert contents(output) == reference


@pytest.mark.parametrize("kind", KINDS)
def test_a_journal_that_cannot_be_begun_leaves_nothing(
    kind: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", str(table), "--output", str(tmp_path / "run"), *SEARCH]
    with fault(kind, "journal.jsonl") as happened, contextlib.suppress(Killed):
        assert command.main(words) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert "journal.jsonl" in last
        assert KINDS[kind] in last
        assert not list(tmp_path.iterdir())
    assert happened
    if kind in ("full", "killed"):
        assert command.main(words) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_cannot_be_kept_cost_a_notice(
    kind: str, cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key: cache.Key = {"data": kind}
    rows = np.ones((50, 4), np.float32)
    entry = cache.CacheEntry(rows, np.zeros(50, np.int32), None, ("a", "b"), "name", "1")
    with fault(kind, "features-*") as happened, contextlib.suppress(Killed):
        cache.write(cache_dir, key, entry)
        assert KINDS[kind] in caplog.text
        assert "(800 bytes)" in caplog.text
    assert happened
    assert not list(cache_dir.iterdir())
    assert cache.read(cache_dir, key) is None
    cache.write(cache_dir, key, entry)
    assert cache.read(cache_dir, key) is not None


def test_what_killed_processes_left_in_the_cache_goes_when_it_is_old(cache_dir: Path) -> None:
    old, new = cache_dir / ".features-1.7.part", cache_dir / ".features-2.8.part"
    for file in (old, new):
        file.write_bytes(b"x")
    os.utime(old, (0, 0))
    rows = np.ones((2, 2), np.float32)
    entry = cache.CacheEntry(rows, np.zeros(2, np.int32), None, ("a",), "n", "1")
    cache.write(cache_dir, {"data": "x"}, entry)
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_predictions_is_whole_or_not_there(
    kind: str,
    finished: tuple[Run, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _ = finished
    assert run(tmp_path / "run") == 0
    rows = saved(tmp_path / "rows.npz", x_train=None, y_train=None, x=np.ones((3, 12), np.float32))
    words = ["predict", str(tmp_path / "run"), str(rows), "--output", str(tmp_path / "table.csv")]
    with fault(kind, "table.csv") as happened, contextlib.suppress(Killed):
        assert command.main(words) == 2
        assert KINDS[kind] in capsys.readouterr().err.splitlines()[-1]
    assert happened
    assert {entry.name for entry in tmp_path.iterdir()} == {"run", "rows.npz"}
    assert command.main(words) == 0
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.md"])
def test_an_export_that_cannot_be_written_is_a_sentence(
    name: str,
    finished: tuple[Run, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _ = finished
    assert run(tmp_path / "run") == 0
    words = ["export", str(tmp_path / "run"), "--format", "safetensors"]
    with fault("full", name) as happened:
        assert command.main(words) == 2
    assert happened
    assert f"cannot write {tmp_path}/run/{name} (" in capsys.readouterr().err
    assert not (tmp_path / "run" / name).exists()
    assert command.main(words) == 0


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, fsync, replace = [], os.fsync, os.replace

    def synced(handle: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        order.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    files.write_file(tmp_path / "x", "content")
    assert order == ["file", "name", "folder"]


def test_a_refused_run_leaves_what_another_put_beside_a_lock(tmp_path: Path) -> None:
    output = tmp_path / "mine"
    (output / "state").mkdir(parents=True)
    for name in ("result.json", "state/lock", "state/thesis.txt"):
        (output / name).write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        store.PartialFolder(output).check(overwrite=False)
    assert (output / "state" / "thesis.txt").read_text() == "mine"
    (output / "state" / "thesis.txt").unlink()
    with pytest.raises(UserError, match="is not empty"):
        store.PartialFolder(output).check(overwrite=False)
    assert not (output / "state").exists()
