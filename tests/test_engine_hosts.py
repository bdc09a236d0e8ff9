"""Two processes on loopback give every process the numbers of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_cases import make_head, make_masks, make_splits

from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import fit_population
from evojax_prune.engine.xla import path

PROGRAM = """
import json, sys
import jax
port, rank, out = sys.argv[1:]
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(rank))
from engine_cases import make_head, make_masks, make_splits
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import fit_population
from evojax_prune.engine.xla import path
path.BLOCKS = (1,)
splits = make_splits()
head = make_head("both", splits)
protocol = Protocol(epochs=4, learning_rate=1e-2)
fits = fit_population(
    make_masks(head, "both"), splits, protocol, head=head, engine="xla", form="dual side-by-side"
)
json.dump([fits.loss.tolist(), fits.accuracy["test"].tolist()], open(out, "w"))
"""


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path, monkeypatch):
    monkeypatch.setattr(path, "BLOCKS", (1,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tests = Path(__file__).parent
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
        "XLA_FLAGS": "",
    }
    outs = [tmp_path / f"{rank}.json" for rank in range(2)]
    runs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, port, str(rank), str(out)], env=env)
        for rank, out in enumerate(outs)
    ]
    assert [run.wait(timeout=240) for run in runs] == [0, 0]
    first, second = (json.loads(out.read_text()) for out in outs)
    assert first == second
    splits = make_splits()
    head = make_head("both", splits)
    protocol = Protocol(epochs=4, learning_rate=1e-2)
    one = fit_population(
        make_masks(head, "both"),
        splits,
        protocol,
        head=head,
        engine="xla",
        form="dual side-by-side",
    )
    np.testing.assert_allclose(first[0], one.loss, rtol=1e-6)
    np.testing.assert_array_equal(first[1], one.accuracy["test"])
