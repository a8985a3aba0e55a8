"""The schedule: who is handed out when, what is tried again, and that each item comes back exactly once."""

from __future__ import annotations

import random
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from autograder.schedule import WorkerLost, schedule


class Hands:
    """An executor that does nothing by itself: `wait` finishes what the test says, one after the other."""

    def __init__(self, finish=lambda hands: next(iter(hands.open)), outcome=lambda item, number: item.upper()):
        self.finish, self.outcome = finish, outcome
        self.open: dict[Future, str] = {}
        self.submitted: list[str] = []
        self.most = 0

    def submit(self, item):
        future = Future()
        self.open[future] = item
        self.submitted.append(item)
        self.most = max(self.most, len(self.open))
        return future

    def wait(self, futures):
        future = self.finish(self)
        item = self.open.pop(future)
        try:
            future.set_result(self.outcome(item, self.submitted.count(item)))
        except Exception as error:
            future.set_exception(error)
        return [future]


def outcomes(items, hands, **options):
    options = {"in_flight": 3, "key": lambda item: item, **options}
    return [one for batch in schedule(items, hands.submit, wait=hands.wait, **options) for one in batch]


def test_each_item_comes_back_once_with_its_result_in_the_order_in_which_they_were_done():
    hands = Hands(finish=lambda hands: list(hands.open)[-1])
    found = outcomes("abcde", hands)
    assert [one.item for one in found] == ["c", "d", "e", "b", "a"]
    assert all(one.found == one.item.upper() and one.tries == 1 for one in found)


def test_no_more_are_handed_out_than_there_is_room_for_and_none_is_made_before_its_time():
    made = []

    def items():
        for item in "abcdefgh":
            made.append(item)
            yield item

    hands = Hands()
    flow = schedule(items(), hands.submit, wait=hands.wait, in_flight=2, key=lambda item: item)
    next(flow)
    assert made == ["a", "b"]
    assert len(list(flow)) == 7
    assert hands.most == 2


def test_outcomes_come_in_batches_and_the_last_may_be_smaller():
    hands = Hands()
    sizes = [len(batch) for batch in schedule("abcdefgh", hands.submit, wait=hands.wait, in_flight=2, batch=3)]
    assert sizes == [3, 3, 2]


def test_what_is_known_already_is_not_handed_out():
    hands = Hands()
    found = outcomes("abc", hands, known=lambda item: "old" if item != "b" else None)
    assert hands.submitted == ["b"]
    assert sorted((one.item, one.found, one.tries) for one in found) == [
        ("a", "old", 0),
        ("b", "B", 1),
        ("c", "old", 0),
    ]


def test_items_with_one_key_run_once_and_share_the_result():
    hands = Hands()
    found = outcomes(["a1", "a2", "b1", "a3"], hands, in_flight=4, key=lambda item: item[0])
    assert hands.submitted == ["a1", "b1"]
    assert {one.item: (one.found, one.shared) for one in found} == {
        "a1": ("A1", False), "a2": ("A1", True), "a3": ("A1", True), "b1": ("B1", False),
    }  # fmt: skip


def test_an_item_whose_worker_was_lost_is_tried_again_and_one_at_fault_is_not():
    def outcome(item, number):
        if item == "a" and number < 3:
            raise WorkerLost("gone")
        if item == "b":
            raise ValueError("mine")
        return item.upper()

    hands = Hands(outcome=outcome)
    found = {one.item: one for one in outcomes("abc", hands)}
    assert (found["a"].found, found["a"].tries) == ("A", 3)
    assert isinstance(found["b"].error, ValueError) and found["b"].found is None
    assert hands.submitted.count("b") == 1


def test_an_item_that_takes_every_worker_with_it_is_given_up():
    def outcome(item, number):
        raise WorkerLost("gone")

    hands = Hands(outcome=outcome)
    (one,) = outcomes("a", hands, tries=3)
    assert isinstance(one.error, WorkerLost) and one.tries == 3 and len(hands.submitted) == 3


def test_an_executor_that_is_broken_is_a_result_for_each_item():
    def submit(item):
        raise RuntimeError("cannot schedule new futures after shutdown")

    found = [one for batch in schedule("ab", submit, in_flight=2) for one in batch]
    assert [str(one.error)[:6] for one in found] == ["cannot", "cannot"]


def test_asked_to_stop_it_gives_back_what_is_done_and_calls_off_what_has_not_begun():
    hands, done = Hands(), []
    flow = schedule("abcdef", hands.submit, wait=hands.wait, in_flight=3, stop=lambda: len(done) >= 2)
    for batch in flow:
        done += [one.item for one in batch]
    assert done == ["a", "b", "c"] and hands.submitted == ["a", "b", "c", "d"]
    assert all(future.cancelled() for future in hands.open)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_lost_and_in_whatever_order_all_come_back_once(seed):
    chance = random.Random(seed)

    def outcome(item, number):
        if chance.random() < 0.3:
            raise WorkerLost("gone")
        return item

    items = [f"s{number:03d}" for number in range(100)]
    hands = Hands(finish=lambda hands: chance.choice(list(hands.open)), outcome=outcome)
    found = outcomes(items, hands, in_flight=7, batch=4, tries=20)
    assert sorted(one.item for one in found) == items and all(one.found == one.item for one in found)


def test_it_runs_on_a_real_executor():
    with ThreadPoolExecutor(3) as executor:
        flow = schedule(range(50), lambda item: executor.submit(pow, item, 2), in_flight=6, batch=5)
        assert sorted(one.found for batch in flow for one in batch) == [number**2 for number in range(50)]
