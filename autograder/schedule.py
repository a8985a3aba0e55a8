"""Who is run when: submissions go to an executor, a bounded number at a time, and come back in batches.

Nothing here knows what a submission is, looks at a clock or starts a process. So the same code runs a class of ten on
two threads, and a simulated class of a million on machines that do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

#: Waits until some of the futures are done, and gives these back. It may give back none, to let the caller look around.
Wait = Callable[[Collection["Future[Any]"]], Collection["Future[Any]"]]


class WorkerLost(Exception):
    """The worker that had a submission is gone, and no result came; another may try."""


@dataclass(frozen=True)
class Outcome(Generic[Item, Found]):
    """What came of one item.

    Attributes:
        item: The item.
        found: Its result; None if there is none.
        error: Why there is none.
        tries: How often it was handed to the executor; 0 if its result was known before.
        shared: Whether the result is that of another item with the same key.
    """

    item: Item
    found: Found | None = None
    error: BaseException | None = None
    tries: int = 0
    shared: bool = False


@dataclass
class _Running(Generic[Item]):
    item: Item
    key: Hashable
    number: int
    tries: int = 1
    followers: list[Item] = field(default_factory=list)


def first_completed(futures: Collection[Future[Any]]) -> Collection[Future[Any]]:
    """Wait until one is done, but no longer than it may take to notice that somebody pressed Ctrl-C."""
    return wait(futures, timeout=0.2, return_when=FIRST_COMPLETED).done


def schedule(
    items: Iterable[Item],
    submit: Callable[[Item], Future[Found]],
    *,
    in_flight: int,
    batch: int = 1,
    tries: int = 3,
    known: Callable[[Item], Found | None] = lambda item: None,
    key: Callable[[Item], Hashable] = id,
    lost: Callable[[BaseException], bool] = lambda error: isinstance(error, WorkerLost),
    wait: Wait = first_completed,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Outcome[Item, Found]]]:
    """Run all items and give back what came of them, each exactly once, in the order in which they were done.

    Items are taken from the iterable only when there is room for them, so it may be long and make each on demand. While
    the caller deals with a batch, the executor goes on with what it has.

    Args:
        items: What to run.
        submit: Hands an item to an executor, for example `lambda item: executor.submit(work, item)`.
        in_flight: How many items the executor has at a time: more than it has workers, so that none waits for us.
        batch: How many outcomes to hand over together; the last batch may be smaller.
        tries: How often to hand an item to the executor if its workers are lost.
        known: The result of an item that need not be run, or None.
        key: Items with an equal key that are in flight together are run once and share the result.
        lost: Whether an error means that the worker was lost, so that the item is tried again.
        wait: Waits for the executor.
        stop: Whether to come to an end: nothing more is handed out, and what is done is given back.

    Yields:
        Batches of outcomes.
    """
    if in_flight < 1 or batch < 1 or tries < 1:
        raise ValueError(f"in_flight, batch and tries must be 1 or more, not {in_flight}, {batch} and {tries}")
    source = iter(items)
    running: dict[Future[Found], _Running[Item]] = {}
    by_key: dict[Hashable, _Running[Item]] = {}
    ready: list[Outcome[Item, Found]] = []
    number, more = 0, True
    try:
        while True:
            while more and len(running) < in_flight and len(ready) < batch and not stop():
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    break
                if (found := known(item)) is not None:
                    ready.append(Outcome(item, found))
                    continue
                if (same := by_key.get(key(item))) is not None:
                    same.followers.append(item)
                    continue
                number += 1
                entry = _Running(item, key(item), number)
                try:
                    running[submit(item)] = by_key[entry.key] = entry
                except (BrokenExecutor, RuntimeError) as error:
                    ready.append(Outcome(item, error=error, tries=1))
            if len(ready) >= batch or (ready and not running):
                yield ready
                ready = []
                continue
            if not running:
                return
            done = wait(running.keys())
            for future in sorted(done, key=lambda future: running[future].number):
                entry = running.pop(future)
                error = _error(future)
                if error is not None and lost(error) and entry.tries < tries and not stop():
                    entry.tries += 1
                    try:
                        running[submit(entry.item)] = entry
                        continue
                    except (BrokenExecutor, RuntimeError) as broken:
                        error = broken
                del by_key[entry.key]
                found = None if error is not None else future.result()
                ready.append(Outcome(entry.item, found, error, entry.tries))
                ready += [Outcome(item, found, error, entry.tries, shared=True) for item in entry.followers]
            if stop():
                if ready:
                    yield ready
                return
    finally:
        for future in running:
            future.cancel()


def _error(future: Future[Any]) -> BaseException | None:
    if future.cancelled():
        return CancelledError("the executor gave it up")
    return future.exception()
