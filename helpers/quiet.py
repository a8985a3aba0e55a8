"""Keep the start-up messages of a compiled library out of a notebook.

TensorFlow writes several lines about missing graphics cards straight to the error stream of the process, before any of
its own settings are read. To a beginner they look like errors. The only place to catch them is around the import.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from types import ModuleType


@contextlib.contextmanager
def hushed_stderr() -> Iterator[None]:
    """Hold back what compiled code writes to the error stream; let it out after all if an exception is raised."""
    try:
        kept = os.dup(2)
    except OSError:  # the process has no error stream
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class _HushedLoader(importlib.abc.Loader):
    """Runs another loader with the error stream held back."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module must look as if nobody had stood in between: reloading and resources read its loader.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with hushed_stderr():
            self._loader.exec_module(module)


class _HushingFinder(importlib.abc.MetaPathFinder):
    """Finds one top-level module, once, and has it loaded with the error stream held back."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _HushedLoader(spec.loader)
        return spec


def hush_import(name: str) -> None:
    """Have the top-level module `name` import without start-up messages, if it isn't loaded yet."""
    if name not in sys.modules:
        sys.meta_path.insert(0, _HushingFinder(name))


def hush_log(name: str, words: str) -> None:
    """Keep messages that hold some words out of the log `name`."""
    logging.getLogger(name).addFilter(lambda record: words not in record.getMessage())
