from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.features import cache
from evojax_prune.features.cache import CacheEntry

KEY: cache.Key = {"data": "0123", "backbone": "efficientnet-lite0", "image_size": 224}


def entry(rows: int = 5, seed: int = 0, paths: bool = True) -> CacheEntry:
    random = np.random.default_rng(seed)
    return CacheEntry(
        features=random.normal(size=(rows, 3)).astype(np.float32),
        labels=random.integers(0, 2, rows).astype(np.int32),
        paths=tuple(f"train/ä ü/{i}.png" for i in range(rows)) if paths else None,
        classes=("ants", "bees"),
        name="insects",
        version="1",
    )


def same(a: CacheEntry | None, b: CacheEntry) -> bool:
    return (
        a is not None
        and np.array_equal(a.features, b.features)
        and np.array_equal(a.labels, b.labels)
        and (a.features.dtype, a.labels.dtype) == (b.features.dtype, b.labels.dtype)
        and (a.paths, a.classes, a.name, a.version) == (b.paths, b.classes, b.name, b.version)
    )


@pytest.mark.parametrize("paths", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
def test_what_was_kept_comes_back(cache_dir: Path, rows: int, paths: bool) -> None:
    kept = entry(rows, paths=paths)
    assert cache.read(cache_dir, KEY) is None
    cache.write(cache_dir, KEY, kept)
    assert same(cache.read(cache_dir, KEY), kept)
    assert [p.name for p in cache_dir.iterdir()] == [cache.path_of(cache_dir, KEY).name]


@pytest.mark.parametrize("part", KEY)
def test_each_part_of_the_key_counts(cache_dir: Path, part: str) -> None:
    cache.write(cache_dir, KEY, entry())
    assert cache.read(cache_dir, KEY | {part: "other"}) is None


def test_file_names_that_are_no_text_come_back(cache_dir: Path) -> None:
    kept = entry(1)
    odd = CacheEntry(kept.features, kept.labels, ("a/\udcff.png",), *("ab", "n", "v"))
    cache.write(cache_dir, KEY, odd)
    read = cache.read(cache_dir, KEY)
    assert read is not None
    assert read.paths == ("a/\udcff.png",)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damage_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("cache")
    kept = entry()
    cache.write(folder, KEY, kept)
    path = cache.path_of(folder, KEY)
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[where:]
    else:
        content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    read = cache.read(folder, KEY)
    # A changed blank in the padding of the header changes nothing.
    assert read is None or same(read, kept)


@pytest.mark.parametrize("place", [0.2, 0.95])
def test_a_damaged_entry_is_told_in_one_line(
    cache_dir: Path, caplog: pytest.LogCaptureFixture, place: float
) -> None:
    cache.write(cache_dir, KEY, entry(100))
    path = cache.path_of(cache_dir, KEY)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "evojax_prune"):
        for _ in range(3):  # looks in one run
            assert cache.read(cache_dir, KEY) is None
    (record,) = caplog.records
    assert record.name == "evojax_prune"
    assert "computed again" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": np.full(4, 7, np.int32)},
        {"labels": np.zeros(3, np.int32)},
        {"features": np.full((4, 2), np.nan, np.float32)},
        {"features": np.zeros((4, 2, 1), np.float32)},
        {"paths": ("a", "b")},
    ],
)
def test_what_no_data_set_has_is_not_used(cache_dir: Path, changed: dict[str, Any]) -> None:
    """Its checksum is right: whoever can write into the cache can make one."""
    rows = CacheEntry(np.zeros((4, 2), "f4"), np.zeros(4, np.int32), None, ("a", "b"), "n", "v")
    cache.write(cache_dir, KEY, dataclasses.replace(rows, **changed))
    assert cache.read(cache_dir, KEY) is None


def test_an_entry_under_another_name_is_not_used(cache_dir: Path) -> None:
    cache.write(cache_dir, KEY, entry())
    other = KEY | {"data": "4567"}
    cache.path_of(cache_dir, KEY).rename(cache.path_of(cache_dir, other))
    assert cache.read(cache_dir, other) is None


def test_a_cache_that_cannot_be_written_costs_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    cache.write(tmp_path / "file" / "below", KEY, entry())
    (record,) = caplog.records
    assert "features are not cached" in record.getMessage()


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOJAX_PRUNE_CACHE", str(tmp_path / "named"))
    assert cache.folder() == tmp_path / "named"
    assert cache.folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("EVOJAX_PRUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "evojax_prune" in cache.folder().parts[-1]


def _write_many(folder: Path, times: int) -> None:
    for _ in range(times):
        cache.write(folder, KEY, entry(2000))


@pytest.mark.slow
def test_two_processes_at_once(cache_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write(cache_dir, KEY, entry(2000))
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_many, args=(cache_dir, 30)) for _ in range(2)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers) or reads == 0:
        assert same(cache.read(cache_dir, KEY), entry(2000))
        reads += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert not caplog.records
    assert [p.suffix for p in cache_dir.iterdir()] == [".safetensors"]


def test_one_makes_what_the_others_wait_for(tmp_path: Path) -> None:
    made: list[int] = []

    def make(number: int) -> None:
        with cache.locked(tmp_path, KEY):
            if cache.read(tmp_path, KEY) is None:
                made.append(number)
                time.sleep(0.05)
                cache.write(tmp_path, KEY, entry())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(8)))
    assert len(made) == 1
    assert list(tmp_path.iterdir()) == [cache.path_of(tmp_path, KEY)]


def test_where_nothing_can_be_locked_nobody_is_kept_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with cache.locked(tmp_path / "file" / "below", KEY):
        pass


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
@pytest.mark.usefixtures("in_time")
def test_where_no_file_can_be_made_nobody_is_waited_for() -> None:
    with cache.locked(Path("/proc/self"), KEY):
        pass
