"""Standard output and error that are closed, full, unread, or of an encoding that lacks letters."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evojax_prune.cli.streams import Stream, as_written_to_a_file, guard
from evojax_prune.core.errors import UserError

FULL = Path("/dev/full")


@pytest.mark.parametrize("name", ["standard output", None])
def test_a_stream_that_nobody_reads_is_silent(name: str | None) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as pipe:
        stream = Stream(pipe, name)
        assert stream.write("x") == 1
        stream.flush()
        stream.write("y")
        stream.flush()


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_results_that_cannot_be_printed_are_told_once() -> None:
    with FULL.open("w") as full:
        stream = Stream(full, "standard output")
        stream.write("x")
        with pytest.raises(UserError, match="cannot write to standard output: the disk is full"):
            stream.flush()
        stream.flush()
    with FULL.open("w") as full:
        progress = Stream(full, None)
        progress.write("x")
        progress.flush()


def test_a_table_has_the_same_bytes_wherever_it_is_written() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    as_written_to_a_file(stream).write("é\udcff")
    stream.flush()
    assert stream.buffer.getvalue() == b"\xc3\xa9\xff"


def test_what_an_encoding_lacks_is_written_as_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", None)  # as if it were closed
    guard()
    print("猫, hôte", flush=True)
    print("nowhere", file=sys.stderr)
    sys.stderr.close()
    assert written.getvalue() == b"\\u732b, h\\xf4te\n"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("where", "status", "said"),
    [
        (">/dev/full", 2, "error: cannot write to standard output: the disk is full"),
        (">&- 2>&- <&-", 0, ""),
        pytest.param("2>/dev/full", 0, "", marks=pytest.mark.slow),
    ],
)
def test_a_process_survives_its_streams(where: str, status: int, said: str) -> None:
    line = f"exec '{sys.executable}' -m evojax_prune.run --help {where}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_output_that_waits_until_the_end_is_not_lost_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    program = (
        "from evojax_prune.cli import main, signals\n"
        "main.main = lambda: print('a line') or 0\n"
        "signals.program()"
    )
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: cannot write to standard output: the disk is full")
    assert done.stderr.count(b"\n") == 1
