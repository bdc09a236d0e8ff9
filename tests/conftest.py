"""Every test runs on 8 fake CPU devices, with strict arrays and a cache folder of its own."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import mmap
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine that is busy is not a fault: what hangs is found by deadlines of the tests' own.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
settings.register_profile("soak", max_examples=10_000)

REPOSITORY = Path(__file__).resolve().parent.parent

# Half of the suite's time is XLA compiling programs that run once, so they are not optimised.
QUICK_TO_COMPILE = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}


def known_to_xla(flags: Iterable[str]) -> list[str]:
    """Those that this jaxlib has: it ends the process of who names another one."""
    (folder,) = importlib.util.find_spec("jaxlib").submodule_search_locations
    with (
        (Path(folder) / "libjax_common.so").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library,
    ):
        return [flag for flag in flags if library.find(flag.encode()) >= 0]


PLATFORMS = os.environ.get("EVOJAX_PRUNE_TEST_PLATFORMS", "cpu")
quick = known_to_xla(QUICK_TO_COMPILE) if PLATFORMS == "cpu" else []

# JAX reads these when it is first imported, so they are set before any test module is.
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_force_host_platform_device_count=8",
        *(f"--{flag}={QUICK_TO_COMPILE[flag]}" for flag in quick),
        os.environ.get("XLA_FLAGS", ""),  # the last one of a flag counts
    ]
).strip()
os.environ["JAX_PLATFORMS"] = PLATFORMS
if PLATFORMS != "cpu":  # the plain references are to be exact there, too
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

# What one worker or process of a test run has compiled, the others read back.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="evojax-prune-tests-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# Imports and tests make few cycles, and the collector walks over all that is imported.
gc.set_threshold(100_000, 50, 100)


def pytest_collection_finish() -> None:
    """What is imported lives on: the collector need not walk over it again and again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty feature cache for each test; nothing of the user's own is read or written."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EVOJAX_PRUNE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; the test is skipped where there is none."""
    named = os.environ.get("EVOJAX_PRUNE_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (EVOJAX_PRUNE_DATA names another place)")
    return folder


@pytest.fixture
def in_time() -> Iterator[None]:
    """A command that hangs fails; on an idle machine none of them takes a second."""
    from deadlines import deadline

    with deadline(20):
        yield


@pytest.fixture
def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Run the command line; see that it says one sentence with these words, and writes nothing."""
    from hostile_cases import below

    from evojax_prune.cli import main as command

    def run(words: list[str], said: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as it is for most people
        before = below(tmp_path)
        status = command.main(words)
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert err.rstrip("\n").isprintable()
        assert len(err) < 2000
        assert said.format(here=tmp_path) in err
        assert below(tmp_path) == before

    return run


@pytest.fixture
def as_at_a_terminal() -> Iterator[None]:
    """``&`` starts processes, and theirs, without SIGINT, and ``nohup`` without SIGHUP."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each latency of an exported model is measured once."""
    from evojax_prune.deploy import costs

    monkeypatch.setattr(costs, "_ROUNDS", (1, 1))


PICTURES = ("convergence.png", "front.png", "report.html")


@pytest.fixture(autouse=True, scope="module")
def no_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs draw nothing, which takes them a second each, but in modules of what is drawn."""
    from evojax_prune.core.files import write_file
    from evojax_prune.report.writers import WRITERS

    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("pictures") is None:
            for name in PICTURES:
                patch.setitem(WRITERS, name, lambda path, _: write_file(path, "not drawn"))
        yield


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of this test do draw."""
    from evojax_prune.report import writers

    drawn = (writers._convergence, writers._front, writers.write_page)
    for name, writer in zip(PICTURES, drawn, strict=True):
        monkeypatch.setitem(writers.WRITERS, name, writer)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Names of files that are no text may stand in a log, but xdist cannot send them."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report
