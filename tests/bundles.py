"""Bundles of values for tests: honest ones as the collector writes them, and forged ones."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autograder import collect
from autograder.crossing import MAGIC, Bounds, Crossed, decode

BOUNDS = Bounds()


def honest(namespace: dict[str, Any], files: Sequence[str] = (), nonce: str = "", bounds: Bounds = BOUNDS) -> bytes:
    """What the collector writes for these variables."""
    with tempfile.NamedTemporaryFile() as outbox:
        request = {"names": list(namespace), "files": list(files), "nonce": nonce, "outbox": outbox.name}
        collect.collect({**request, "bounds": bounds.to_dict()}, namespace)
        return Path(outbox.name).read_bytes()


def forged(x: Any = None, blobs: Sequence[bytes] = (), sizes: Any = None, **header: Any) -> bytes:
    """A bundle with the header that a stranger likes."""
    whole = {"nonce": "", "values": {"x": x}, "files": {}, "refused": {}, "missing": [], **header}
    whole["blobs"] = sizes or [len(blob) for blob in blobs]
    text = json.dumps(whole).encode()
    return MAGIC + len(text).to_bytes(8, "big") + text + b"".join(blobs)


def across(value: Any, bounds: Bounds = BOUNDS) -> Any:
    """The copy of a value that arrives in the judge."""
    crossed = read(honest({"x": value}, bounds=bounds), bounds)
    assert not crossed.refused, crossed.refused
    return crossed.values["x"]


def refusal(value: Any, bounds: Bounds = BOUNDS) -> str:
    """Why a value does not cross."""
    return read(honest({"x": value}, bounds=bounds), bounds).refused["x"]


def read(raw: bytes, bounds: Bounds = BOUNDS, files: Sequence[str] = ()) -> Crossed:
    """Decode a bundle that holds the value `x`."""
    return decode(raw, ["x"], files, bounds)


def npy(array: np.ndarray, **options: Any) -> bytes:
    """The bytes of an `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npy_claiming(header: str, body: bytes = b"\0" * 8, version: bytes = b"\1\0") -> bytes:
    """An `.npy` file with the header text that a stranger likes."""
    text = header.encode() + b"\n"
    size = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + text + body
