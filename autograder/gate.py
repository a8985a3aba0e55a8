"""Between the grader and a kernel's sockets: messages pass, and one that is too large ends its connection.

ZeroMQ bounds a part of a message, but not their number, and it keeps all parts in memory until the last one has come.
A kernel that sends parts without end would so use up the grader's memory. `Gate` counts along, in a thread of its own,
and holds no more than one buffer of each connection.
"""

from __future__ import annotations

import collections
import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 1 << 18
_GREETING = 64
_PARTS = 256
_COMMAND_BYTES = 1 << 16
_CONNECTIONS = 32


class Refused(Exception):
    """A kernel sent what no kernel sends, or too much of it."""


class Meter:
    """Follows the frames of a ZMTP 3 stream and measures the messages in it.

    Args:
        most: Bytes that one message may have, all parts together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._head = bytearray()
        self._greeted = False
        self._rest = 0  # bytes of the present frame that are still to come
        self._bytes = self._parts = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises `Refused` before a message grows beyond its bound."""
        position = 0
        while position < len(data):
            if self._rest:
                step = min(self._rest, len(data) - position)
                self._rest -= step
                position += step
                continue
            wanted = self._wanted() - len(self._head)
            self._head += data[position : position + wanted]
            position += wanted
            if len(self._head) >= self._wanted():
                self._head_is_complete()

    def _wanted(self) -> int:
        if not self._greeted:
            return _GREETING
        if not self._head:
            return 1
        return 9 if self._head[0] & 2 else 2

    def _head_is_complete(self) -> None:
        head = bytes(self._head)
        if not self._greeted:
            if head[0] != 0xFF or head[9] != 0x7F or head[10] != 3:
                raise Refused("not the protocol of a kernel")
            self._greeted = True
            self._head.clear()
            return
        if len(head) < self._wanted():
            return
        flags, size = head[0], int.from_bytes(head[1:], "big")
        self._head.clear()
        self._rest = size
        if flags & 4:
            if size > _COMMAND_BYTES:
                raise Refused("a command without end")
            return
        self._bytes += size
        self._parts += 1
        if self._bytes > self.most or self._parts > _PARTS:
            raise Refused("a message without end")
        if not flags & 1:
            self._bytes = self._parts = 0


@dataclass(eq=False)
class _Side:
    """One end of a connection, with what waits to be written to it."""

    socket: socket.socket
    channel: str
    meter: Meter | None  # of what is read from it
    waiting: memoryview = field(default_factory=lambda: memoryview(b""))
    other: _Side | None = None


class Gate:
    """Passes bytes between sockets that the grader connects to and those of a kernel, as long as messages are small.

    Args:
        folder: Where the sockets are.
        names: For each channel, the name of the grader's socket, made here, and of the kernel's, which is there.
        most: Bytes that a message from the kernel may have.

    Attributes:
        refused: How many connections were ended for what the kernel sent, by channel.
    """

    def __init__(self, folder: Path, names: dict[str, tuple[str, str]], most: int) -> None:
        self.refused: collections.Counter[str] = collections.Counter()
        self._folder, self._names, self._most = folder, names, most
        self._selector = selectors.DefaultSelector()
        self._sides: set[_Side] = set()
        self._listening: list[socket.socket] = []
        for channel, (outer, _) in names.items():
            listening = socket.socket(socket.AF_UNIX)
            listening.setblocking(False)
            listening.bind(str(folder / outer))
            listening.listen(16)
            self._listening.append(listening)
            self._selector.register(listening, selectors.EVENT_READ, channel)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._pass, name="sandbox-gate", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every connection. May be called twice."""
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)

    def _pass(self) -> None:
        try:
            while True:
                for key, events in self._selector.select():
                    if key.data is None:
                        return
                    if isinstance(key.data, str):
                        self._accept(key.fileobj, key.data)
                    elif key.data in self._sides:
                        self._serve(key.data, events)
        finally:
            for side in list(self._sides):
                side.socket.close()
            for each in (*self._listening, self._wake, self._woken):
                each.close()
            self._selector.close()

    def _accept(self, listening: socket.socket, channel: str) -> None:
        try:
            outer, _ = listening.accept()
        except OSError:
            return
        inner = socket.socket(socket.AF_UNIX)
        inner.setblocking(False)
        outer.setblocking(False)
        try:
            if len(self._sides) >= 2 * _CONNECTIONS:
                raise OSError("too many connections")
            inner.connect(str(self._folder / self._names[channel][1]))
        except OSError:
            outer.close()
            inner.close()
            return
        one, two = _Side(outer, channel, None), _Side(inner, channel, Meter(self._most))
        one.other, two.other = two, one
        for side in (one, two):
            self._sides.add(side)
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _serve(self, side: _Side, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._write(side)
            if events & selectors.EVENT_READ and side.other is not None and not side.other.waiting:
                data = side.socket.recv(_CHUNK)
                if not data:
                    raise OSError("closed")
                if side.meter is not None:
                    side.meter.feed(data)
                side.other.waiting = memoryview(data)
                self._write(side.other)
        except Refused:
            self.refused[side.channel] += 1
            self._drop(side)
        except BlockingIOError:
            return
        except OSError:
            self._drop(side)

    def _write(self, side: _Side) -> None:
        """Write what waits; while some of it still does, nothing more is read for it."""
        with contextlib.suppress(BlockingIOError):
            side.waiting = side.waiting[side.socket.send(side.waiting) :]
        assert side.other is not None
        for each in (side, side.other):
            assert each.other is not None
            wants = (selectors.EVENT_WRITE if each.waiting else 0) | (0 if each.other.waiting else selectors.EVENT_READ)
            registered = each.socket in self._selector.get_map()
            if not wants:
                if registered:
                    self._selector.unregister(each.socket)
            elif registered:
                self._selector.modify(each.socket, wants, each)
            else:
                self._selector.register(each.socket, wants, each)

    def _drop(self, side: _Side) -> None:
        for each in filter(None, (side, side.other)):
            if each in self._sides:
                self._sides.discard(each)
                with contextlib.suppress(KeyError):
                    self._selector.unregister(each.socket)
                each.socket.close()


__all__ = ["Gate", "Meter", "Refused"]
