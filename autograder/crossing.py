"""Which of a student's values a test reads, and how their bytes are read back as hostile input.

The first half (`free_names`, `file_names`) looks at the source of a test cell and runs wherever grading runs. The
second half (`decode`) runs only inside the judge process: the bytes come from a process that ran a stranger's code, so
nothing in them is believed before it was checked. `docs/explanation/judge.md` explains the format.
"""

from __future__ import annotations

import ast
import builtins
import collections
import io
import json
import math
import pathlib
import re
import symtable
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from autograder.collect import MAGIC

# Provided by IPython in every kernel: reading them never means a name that the student defined.
IPYTHON_NAMES = frozenset({"display", "get_ipython", "In", "Out", "exit", "quit"})

# A file crosses only under a suffix that nothing in the course runs or unpickles.
FILE_SUFFIXES = frozenset(
    {".keras", ".h5", ".npy", ".npz", ".json", ".csv", ".txt", ".md", ".png", ".jpg", ".jpeg", ".gif", ".bmp"}
)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*){0,7}")


class Refused(ValueError):
    """A value or a bundle that cannot cross; the message says why in words for a student."""


@dataclass(frozen=True)
class Bounds:
    """How much may cross for one test cell.

    Attributes:
        values: Number of names.
        depth: Nesting of lists, tuples, sets and dicts in one value.
        items: Elements of all plain containers together.
        header_bytes: Bytes of all plain data together, as JSON.
        value_bytes: Bytes of one array, one dataset, one model or one file.
        bundle_bytes: Bytes of everything together.
        files: Number of files.
        weights: Weights (single numbers) of all models together.
        layers: Layers of one model, nested ones included.
        text: Characters of a message that is shown.
    """

    values: int = 64
    depth: int = 24
    items: int = 200_000
    header_bytes: int = 16 << 20
    value_bytes: int = 128 << 20
    bundle_bytes: int = 256 << 20
    files: int = 16
    weights: int = 30_000_000
    layers: int = 500
    text: int = 2_000

    def to_dict(self) -> dict[str, int]:
        """The bounds as plain data, for the collector and for the judge."""
        return asdict(self)


# --- which values cross ---------------------------------------------------------------------------------------------


class _EarlyReads(ast.NodeVisitor):
    """Names that the cell's top level reads at a place before the cell binds them."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.early: set[str] = set()
        self.local: list[set[str]] = []

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            if node.id not in self.bound and not any(node.id in names for names in self.local):
                self.early.add(node.id)
        else:
            (self.local[-1] if self.local else self.bound).add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.visit(ast.Name(node.target.id, ast.Load()))
        self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.bound.add(node.target.id)

    def visit_For(self, node: ast.For) -> None:
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)

    def visit_alias(self, node: ast.alias) -> None:
        self.bound.add(node.asname or node.name.partition(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bound.add(node.name)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)
        self.bound.add(node.name)  # the body runs later; `symtable` sees to what it reads

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        self.local.append(set())
        for part in node.body:
            self.visit(part)
        self.local.pop()
        self.bound.add(node.name)

    def _comprehension(self, node: Any) -> None:
        self.local.append(set())
        for generator in node.generators:
            self.visit(generator.iter)
            self.visit(generator.target)
            for condition in generator.ifs:
                self.visit(condition)
        for part in ("key", "value", "elt"):
            if hasattr(node, part):
                self.visit(getattr(node, part))
        self.local.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


def free_names(source: str) -> tuple[str, ...]:
    """The names that a test cell reads from the notebook, in alphabetical order.

    A name crosses if the cell reads it and binds it nowhere, or reads it at a place before it binds it
    (`scores = sorted(scores)`). Builtins, names that IPython provides and dunder names never cross: a student's own
    `len` must not reach the judge.

    Args:
        source: Python source of the cell.

    Raises:
        SyntaxError: The source is not plain Python (a cell with magics is not a test cell).
    """
    tree = ast.parse(source)
    early = _EarlyReads()
    early.visit(tree)

    top = symtable.symtable(source, "<test cell>", "exec")
    read: set[str] = set()
    bound: set[str] = set()

    def walk(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            at_top = table is top
            if symbol.is_referenced() and (at_top or symbol.is_global()):
                read.add(symbol.get_name())
            if (at_top or symbol.is_declared_global()) and (symbol.is_assigned() or symbol.is_imported()):
                bound.add(symbol.get_name())
        for child in table.get_children():
            walk(child)

    walk(top)
    names = (read - bound) | (early.early & bound)
    return tuple(sorted(n for n in names if not _never_crosses(n)))


def _never_crosses(name: str) -> bool:
    return name in IPYTHON_NAMES or hasattr(builtins, name) or (name.startswith("__") and name.endswith("__"))


def is_safe_file_name(name: str) -> bool:
    """Whether `name` is a relative path inside the work folder, with a suffix that may cross."""
    return (
        isinstance(name, str)
        and len(name) <= 200
        and _FILE_NAME.fullmatch(name) is not None
        and pathlib.PurePosixPath(name).suffix.lower() in FILE_SUFFIXES
    )


def file_names(source: str) -> tuple[str, ...]:
    """The files in the work folder that a test cell names as string literals, in alphabetical order.

    Args:
        source: Python source of the cell.
    """
    literals = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return tuple(sorted(name.removeprefix("./") for name in literals if is_safe_file_name(name.removeprefix("./"))))


# --- reading the bytes back -----------------------------------------------------------------------------------------


@dataclass
class Crossed:
    """What arrived for one test cell.

    Attributes:
        values: The decoded copies by name.
        missing: Names that the student's notebook does not define.
        refused: Why a value or a file did not cross, by name.
        files: Bytes by relative path.
    """

    values: dict[str, Any] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def plain_text(text: object, limit: int = 300) -> str:
    """`text` without control characters and lone surrogates, cut to `limit` characters."""
    cleaned = str(text).encode("utf-8", "replace").decode("utf-8")
    cleaned = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", cleaned)
    cleaned = "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cleaned)
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def decode(raw: bytes, names: Iterable[str], files: Iterable[str], bounds: Bounds, nonce: str = "") -> Crossed:
    """Read a bundle that `collect.py` wrote, or that a stranger forged.

    Args:
        raw: The whole bundle.
        names: The names asked for; others are not looked at.
        files: The file names asked for.
        bounds: What is the most that may cross.
        nonce: What the collector was told to write into this bundle; a stale bundle carries another.

    Raises:
        Refused: The bundle as a whole makes no sense. A single value or file that cannot be decoded is no exception:
            it stands in `Crossed.refused`.
    """
    header, blobs = _open_bundle(raw, bounds)
    if header.get("nonce") != nonce:
        raise Refused("they belong to another test")
    values, files_node = header.get("values"), header.get("files")
    refusals, missing = header.get("refused"), header.get("missing")
    if not (isinstance(values, dict) and isinstance(files_node, dict) and isinstance(refusals, dict)):
        raise Refused("their list is damaged")
    if not isinstance(missing, list) or len(missing) > bounds.values or len(refusals) > bounds.values + bounds.files:
        raise Refused("their list is damaged")
    if len(values) > bounds.values or len(files_node) > bounds.files:
        raise Refused("there are too many of them")

    crossed = Crossed()
    reader = _Reader(blobs, bounds)
    for name in names:
        if name in refusals:
            crossed.refused[name] = plain_text(refusals[name])
        elif name in values:
            try:
                crossed.values[name] = _guarded(reader.value, values[name])
            except Refused as error:
                crossed.refused[name] = f"`{name}` cannot be handed to the test: {error}"
        else:
            crossed.missing.add(name)
    for name in files:
        if name in refusals:
            crossed.refused[name] = plain_text(refusals[name])
        elif name in files_node and is_safe_file_name(name):
            try:
                crossed.files[name] = _guarded(reader.file, name, files_node[name])
            except Refused as error:
                crossed.refused[name] = f"the file `{name}` cannot be handed to the test: {error}"
    return crossed


def _guarded(read: Callable[..., Any], *args: Any) -> Any:
    """Call `read`; whatever goes wrong on hostile input is a refusal, never a crash of the judge."""
    try:
        return read(*args)
    except Refused:
        raise
    except MemoryError:
        raise Refused("it needs more memory than a test has") from None
    except RecursionError:
        raise Refused("it is nested too deeply") from None
    except Exception as error:
        raise Refused(f"it could not be read back ({type(error).__name__})") from error


def _open_bundle(raw: bytes, bounds: Bounds) -> tuple[dict[str, Any], list[memoryview]]:
    if len(raw) > bounds.bundle_bytes:
        raise Refused(f"together they are larger than {bounds.bundle_bytes >> 20} MB")
    start = len(MAGIC) + 8
    if len(raw) < start or raw[: len(MAGIC)] != MAGIC:
        raise Refused("nothing readable arrived")
    size = int.from_bytes(raw[len(MAGIC) : start], "big")
    if size > bounds.header_bytes or start + size > len(raw):
        raise Refused("the plain data are too large or were cut off")
    try:
        header = json.loads(
            raw[start : start + size].decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_small_int,
        )
    except Refused:
        raise
    except RecursionError:
        raise Refused("a value is nested too deeply") from None
    except ValueError:
        raise Refused("their list is damaged") from None
    if not isinstance(header, dict):
        raise Refused("their list is damaged")
    sizes = header.get("blobs")
    most = bounds.items
    if not isinstance(sizes, list) or len(sizes) > most or not all(type(s) is int and s >= 0 for s in sizes):
        raise Refused("their list is damaged")
    if sum(sizes) != len(raw) - start - size:
        raise Refused("they were cut off")
    view, blobs, at = memoryview(raw), [], start + size
    for length in sizes:
        blobs.append(view[at : at + length])
        at += length
    return header, blobs


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Refused("a name stands there twice")
    return result


def _no_constant(text: str) -> float:
    raise Refused(f"a bare {text} is not allowed there")


def _small_int(text: str) -> int:
    if len(text) > 25:
        raise Refused("a number is too long")
    return int(text)


class _Reader:
    """Turns the tagged nodes of one bundle into values, counting as it goes."""

    def __init__(self, blobs: list[memoryview], bounds: Bounds) -> None:
        self.blobs = blobs
        self.bounds = bounds
        self.items_left = bounds.items
        self.weights_left = bounds.weights
        self.used: set[int] = set()

    def value(self, node: Any, depth: int = 0) -> Any:
        if node is None or type(node) in (bool, int, float, str):
            if type(node) is float and not math.isfinite(node):  # JSON's 1e999
                raise Refused("a number is out of range")
            return node
        if depth > self.bounds.depth:
            raise Refused(f"it is nested more than {self.bounds.depth} levels deep")
        if type(node) is list:
            return self._sequence(node, depth)
        if type(node) is dict and isinstance(node.get("t"), str):
            read = getattr(self, f"_read_{node['t']}", None) if node["t"].isidentifier() else None
            if read is not None:
                return read(node, depth)
        raise Refused("it is of a kind that is not known here")

    def file(self, name: str, node: Any) -> bytes:
        """Bytes of a file, after a look inside the formats that Keras or NumPy would open."""
        content = bytes(self._blob(node))
        suffix = pathlib.PurePosixPath(name).suffix.lower()
        if suffix == ".keras":
            from autograder import model_files

            return model_files.checked_keras_file(content, self.bounds)
        if suffix == ".h5":
            from autograder import model_files

            model_files.check_weights(content, self.bounds)
        elif suffix == ".npy":
            read_array(memoryview(content), self.bounds)
        elif suffix == ".npz":
            from autograder import model_files

            for member in model_files.read_zip(content, self.bounds, most_members=64).values():
                read_array(memoryview(member), self.bounds)
        return content

    # plain data

    def _sequence(self, nodes: Any, depth: int) -> list[Any]:
        if type(nodes) is not list:
            raise Refused("it is of a kind that is not known here")
        self.items_left -= len(nodes)
        if self.items_left < 0:
            raise Refused(f"it has more than {self.bounds.items} elements")
        return [self.value(node, depth + 1) for node in nodes]

    def _read_tuple(self, node: dict[str, Any], depth: int) -> tuple[Any, ...]:
        return tuple(self._sequence(node.get("v"), depth))

    def _read_set(self, node: dict[str, Any], depth: int) -> set[Any]:
        return set(_keys(self._sequence(node.get("v"), depth)))

    def _read_frozenset(self, node: dict[str, Any], depth: int) -> frozenset[Any]:
        return frozenset(self._read_set(node, depth))

    def _read_dict(self, node: dict[str, Any], depth: int) -> dict[Any, Any]:
        keys = _keys(self._sequence(node.get("k"), depth))
        values = self._sequence(node.get("v"), depth)
        if len(keys) != len(values):
            raise Refused("its keys and values do not match")
        return dict(zip(keys, values, strict=True))

    def _read_ellipsis(self, node: dict[str, Any], depth: int) -> Any:
        return ...

    def _read_float(self, node: dict[str, Any], depth: int) -> float:
        known = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
        if node.get("v") not in ("nan", "inf", "-inf"):
            raise Refused("a number is damaged")
        return known[node["v"]]

    def _read_int(self, node: dict[str, Any], depth: int) -> int:
        text = node.get("v")
        if type(text) is not str or not re.fullmatch(r"-?0x[0-9a-f]{1,1024}", text):
            raise Refused("a number is too large")
        return int(text, 16)

    def _read_complex(self, node: dict[str, Any], depth: int) -> complex:
        parts = self._sequence(node.get("v"), depth)
        if len(parts) != 2 or not all(type(p) is float for p in parts):
            raise Refused("a number is damaged")
        return complex(*parts)

    def _read_range(self, node: dict[str, Any], depth: int) -> range:
        parts = self._sequence(node.get("v"), depth)
        if len(parts) != 3 or not all(type(p) is int for p in parts) or parts[2] == 0:
            raise Refused("a range is damaged")
        return range(*parts)

    def _read_bytes(self, node: dict[str, Any], depth: int) -> bytes:
        return bytes(self._blob(node.get("b")))

    def _read_path(self, node: dict[str, Any], depth: int) -> pathlib.Path:
        if type(node.get("v")) is not str or len(node["v"]) > 4096:
            raise Refused("a path is damaged")
        return pathlib.Path(node["v"])

    # arrays and tables

    def _blob(self, index: Any) -> memoryview:
        if type(index) is not int or not 0 <= index < len(self.blobs):
            raise Refused("a part of it is missing")
        if index in self.used:  # else one large part, named a thousand times, would fill the memory
            raise Refused("a part of it is used twice")
        self.used.add(index)
        if len(self.blobs[index]) > self.bounds.value_bytes:
            raise Refused(f"it is larger than {self.bounds.value_bytes >> 20} MB")
        return self.blobs[index]

    def _read_array(self, node: dict[str, Any], depth: int) -> np.ndarray:
        return read_array(self._blob(node.get("b")), self.bounds)

    def _read_scalar(self, node: dict[str, Any], depth: int) -> Any:
        array = self._read_array(node, depth)
        if array.shape != ():
            raise Refused("a number is damaged")
        return array[()]

    def _read_series(self, node: dict[str, Any], depth: int) -> Any:
        import pandas as pd

        index, values = self.value(node.get("index"), depth + 1), self.value(node.get("v"), depth + 1)
        if not (_is_column(index) and _is_column(values)) or len(index) != len(values):
            raise Refused("a column is damaged")
        return pd.Series(values, index=index, name=_hashable(self.value(node.get("name"), depth + 1)))

    def _read_frame(self, node: dict[str, Any], depth: int) -> Any:
        import pandas as pd

        names, columns = self._sequence(node.get("k"), depth), self._sequence(node.get("v"), depth)
        index = self.value(node.get("index"), depth + 1)
        if len(names) != len(columns) or len(columns) > 10_000 or not all(map(_is_column, [index, *columns])):
            raise Refused("the table is damaged")
        if any(len(column) != len(index) for column in columns):
            raise Refused("the columns of the table differ in length")
        frame = pd.DataFrame(dict(enumerate(columns)), index=index)
        frame.columns = pd.Index([_hashable(n) for n in names])
        frame.index.name = _hashable(self.value(node.get("name"), depth + 1))
        return frame

    # Keras and TensorFlow

    def _read_history(self, node: dict[str, Any], depth: int) -> Any:
        parts = {part: self.value(node.get(part), depth + 1) for part in ("history", "epoch", "params")}
        if not isinstance(parts["history"], dict) or not isinstance(parts["epoch"], list):
            raise Refused("the training history is damaged")
        import keras

        history = keras.callbacks.History()
        history.history, history.epoch = parts["history"], parts["epoch"]
        history.params = parts["params"]
        return history

    def _read_dataset(self, node: dict[str, Any], depth: int) -> Any:
        parts = self._sequence(node.get("parts"), depth)
        size, class_names = node.get("batch_size"), self.value(node.get("class_names"), depth + 1)
        if len(parts) not in (1, 2) or not all(isinstance(p, np.ndarray) and p.ndim > 0 for p in parts):
            raise Refused("the dataset is damaged")
        if len({len(p) for p in parts}) != 1:
            raise Refused("the dataset has not as many labels as images")
        if any(p.dtype.kind not in "biuf" for p in parts):
            raise Refused("the dataset holds something other than numbers")
        if size is not None and not (type(size) is int and 0 < size <= 1_000_000):
            raise Refused("the dataset is damaged")
        if class_names is not None and not (
            isinstance(class_names, list) and all(isinstance(n, str) for n in class_names)
        ):
            raise Refused("the class names of the dataset are damaged")
        import tensorflow as tf

        dataset = tf.data.Dataset.from_tensor_slices(tuple(parts) if len(parts) == 2 else parts[0])
        if size is not None:
            dataset = dataset.batch(size)
        if class_names is not None:
            dataset.class_names = class_names
        return dataset

    def _read_model(self, node: dict[str, Any], depth: int) -> Any:
        from autograder import model_files

        model, weights = model_files.load_model(self._blob(node.get("b")), self.bounds, self.weights_left)
        self.weights_left -= weights
        return model

    def _read_keras_object(self, node: dict[str, Any], depth: int) -> Any:
        from autograder import model_files

        return model_files.load_object(self._blob(node.get("b")), self.bounds)

    def _read_keras_tensor(self, node: dict[str, Any], depth: int) -> Any:
        shape, dtype, name = node.get("shape"), node.get("dtype"), node.get("name")
        if type(shape) is not list or len(shape) > 16:
            raise Refused("the shape of the tensor is damaged")
        if not all(n is None or (type(n) is int and 0 <= n < 1 << 31) for n in shape):
            raise Refused("the shape of the tensor is damaged")
        if type(dtype) is not str or not re.fullmatch(r"(float|int|uint|bfloat)\d{1,2}|bool", dtype):
            raise Refused("the dtype of the tensor is not known here")
        if type(name) is not str or not re.fullmatch(r"[\w./-]{1,200}", name):
            raise Refused("the name of the tensor is damaged")
        import keras

        return keras.KerasTensor(tuple(shape), dtype=dtype, name=name)


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        raise Refused("it has a key that cannot be one") from None
    return value


def _keys(values: list[Any]) -> list[Any]:
    """The values, if they can be keys and are not made to share one hash, which would take a dict minutes to build."""
    hashes = collections.Counter(hash(_hashable(value)) for value in values)
    if hashes and max(hashes.values()) > 64:
        raise Refused("too many of its keys have the same hash")
    return values


def _is_column(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim == 1)


def read_array(raw: memoryview, bounds: Bounds) -> np.ndarray:
    """An array from the bytes of a `.npy` file, checked before anything is allocated for it.

    Args:
        raw: The whole file.
        bounds: `value_bytes` bounds its size.

    Raises:
        Refused: Not an `.npy` file; a dtype that is not plain numbers, text or dates; a shape that does not fit the
            bytes that are there.
    """
    if len(raw) > bounds.value_bytes:
        raise Refused(f"it is larger than {bounds.value_bytes >> 20} MB")
    file = io.BytesIO(raw[:12_000])
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(file, max_header_size=10_000)
        elif version == (2, 0):
            shape, fortran, dtype = npy_format.read_array_header_2_0(file, max_header_size=10_000)
        else:
            raise Refused("the array is in an unknown format")
    except Refused:
        raise
    except Exception:
        # numpy evaluates the header as a literal: any of ast's, tokenize's or dtype's errors may come out
        raise Refused("the array is damaged") from None
    if dtype.kind not in "biufcUSMm" or dtype.itemsize == 0:
        raise Refused("it is an array of objects, and only arrays of numbers or text can be")
    if len(shape) > 16 or not all(type(n) is int and 0 <= n < 1 << 31 for n in shape):
        raise Refused("the shape of the array makes no sense")
    body = raw[file.tell() :]
    if math.prod(shape) * dtype.itemsize != len(body):
        raise Refused("the array is damaged: its shape does not fit its size")
    array = np.frombuffer(bytes(body), dtype=dtype).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "b":
        return np.frombuffer(bytes(body), dtype=np.uint8).reshape(shape, order="F" if fortran else "C") != 0
    if dtype.kind == "U" and array.size:
        points = np.frombuffer(bytes(body), dtype=np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if points.max() > 0x10FFFF:
            raise Refused("the array holds something that is no text")
    return array.copy()
