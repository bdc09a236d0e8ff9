"""One thread per product inside, what was there before outside."""

import pytest

from evojax_prune.engine import run_queue, workers

threadpoolctl = pytest.importorskip("threadpoolctl")


def threads() -> set[int]:
    return {i["num_threads"] for i in threadpoolctl.threadpool_info() if i["user_api"] == "blas"}


@pytest.fixture
def three_threads():
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        yield


def test_workers_multiply_on_one_thread_each(three_threads):
    assert threads() == {3}
    assert run_queue([1, 2], lambda _: threads(), float, workers=2) == [{1}, {1}]
    assert threads() == {3}
    assert run_queue([1], lambda _: threads(), float, workers=1) == [{1}], "a lone job too"


def test_an_error_restores_the_threads(three_threads):
    with pytest.raises(ZeroDivisionError):
        run_queue([1, 0], lambda job: 1 // job, float, workers=2)
    assert threads() == {3}


def test_the_engine_runs_without_threadpoolctl(monkeypatch):
    monkeypatch.setattr(workers, "_controller", lambda: None)
    assert run_queue([1, 2], lambda job: -job, float, workers=2) == [-1, -2]
