"""A worker grades one notebook after the other, and nothing of one reaches the next."""

from __future__ import annotations

import time

import pytest

from autograder.judge import JudgeLimits
from autograder.limits import Limits
from autograder.worker import WorkerPool

POOLED = {"sandbox": False, "limits": Limits(), "judge_limits": JudgeLimits(), "modules": (), "imports": ()}


# --- the pool --------------------------------------------------------------------------------------------------------


def test_a_worker_that_has_imported_more_than_is_needed_will_do():
    pool = WorkerPool()
    with pool.borrow(**{**POOLED, "modules": ("json",)}) as more:
        pass
    with pool.borrow(**POOLED) as less:
        assert less is more
    with pool.borrow(**{**POOLED, "modules": ("json", "csv")}) as other:
        assert other is not more
    with pool.borrow(**{**POOLED, "imports": ("numpy",)}) as another:
        assert another not in (more, other)
    pool.close()


def test_a_worker_that_nobody_borrows_ends():
    pool = WorkerPool(idle_seconds=0.1)
    with pool.borrow(**POOLED) as worker:
        worker.start()
        judge = worker.judge
        judge.begin()
        assert judge.pid is not None
    for _ in range(200):
        if judge.pid is None:
            break
        time.sleep(0.05)
    assert judge.pid is None


def test_a_pool_lends_each_worker_to_one_borrower_and_keeps_it_warm():
    pool = WorkerPool()
    with pool.borrow(**POOLED) as first, pool.borrow(**POOLED) as second:
        assert first is not second
    with pool.borrow(**POOLED) as again:
        assert again in (first, second)
        again.start()
        judge = again.judge
    with pytest.raises(ValueError, match="mine"), pool.borrow(**POOLED) as broken:
        raise ValueError("mine")
    assert broken is again
    assert judge.pid is None
    pool.close()
