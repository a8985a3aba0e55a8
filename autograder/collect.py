"""Runs inside the student kernel: write copies of the named values into one file.

The text of this file is sent to the student kernel and executed there in a namespace of its own, with `REQUEST` and
`NAMESPACE` put into it. So it uses the standard library alone, and NumPy, pandas, Keras or TensorFlow only where the
student's own code has imported them. It runs beside a stranger's code and may be made to write anything at all; that is
no harm, for `crossing.decode` believes nothing of it. `docs/explanation/judge.md` explains the format.
"""

import io
import json
import math
import os
import pathlib
import stat
import sys

MAGIC = b"CNNX1\n"


class CannotCross(Exception):
    """A value of a kind that the judge does not take, or more of it than it takes."""


class _Collector:
    """Encodes values as tagged JSON nodes and blobs of bytes.

    Args:
        bounds: The fields of `crossing.Bounds`.
    """

    def __init__(self, bounds):
        self.bounds = bounds
        self.blobs = []
        self.blob_bytes = 0
        self.items = self.text = 0
        self.open = []

    def blob(self, content):
        if len(content) > self.bounds["value_bytes"]:
            raise CannotCross(f"it is larger than {self.bounds['value_bytes'] >> 20} MB")
        if self.blob_bytes + len(content) > self.bounds["bundle_bytes"] - self.bounds["header_bytes"] - 64:
            raise CannotCross("together with the other values it is too large")
        self.blobs.append(content)
        self.blob_bytes += len(content)
        return len(self.blobs) - 1

    def encode(self, value, depth=0):
        # By `type`, not by `isinstance`: an object may claim any `__class__`.
        kind = type(value)
        if value is None or kind is bool:
            return value
        if value is ...:
            return {"t": "ellipsis"}
        if depth > self.bounds["depth"]:
            raise CannotCross(f"it is nested more than {self.bounds['depth']} levels deep")
        foreign = self.encode_foreign(value, kind, depth)
        if foreign is not None:
            return foreign
        if issubclass(kind, int):
            value = int.__int__(value)
            if abs(value) < 1 << 63:
                return value
            if abs(value) >= 1 << 4000:
                raise CannotCross("it holds a number of more than 1,000 digits")
            return {"t": "int", "v": hex(value)}
        if issubclass(kind, float):
            value = float.__float__(value)
            if math.isfinite(value):
                return value
            return {"t": "float", "v": "nan" if value != value else "inf" if value > 0 else "-inf"}
        if issubclass(kind, complex):
            return {"t": "complex", "v": [self.encode(float(part)) for part in (value.real, value.imag)]}
        if issubclass(kind, str):
            self.text += str.__len__(value)
            if self.text > self.bounds["header_bytes"]:
                raise CannotCross("it holds too much text")
            return str.__str__(value)
        if kind in (bytes, bytearray):
            return {"t": "bytes", "b": self.blob(bytes(value))}
        if kind is range:
            return {"t": "range", "v": [value.start, value.stop, value.step]}
        if issubclass(kind, pathlib.PurePath):
            return {"t": "path", "v": str(value)}
        for base, tag in ((list, None), (tuple, "tuple"), (set, "set"), (frozenset, "frozenset"), (dict, "dict")):
            if issubclass(kind, base):
                return self.encode_container(value, base, tag, depth)
        if kind.__name__ in ("dict_keys", "dict_values", "dict_items"):
            return self.encode_container(list(value), list, None, depth)
        raise CannotCross(f"it is {describe(kind)}; a test reads only plain data, arrays, tables, models and datasets")

    def encode_container(self, value, base, tag, depth):
        if any(value is other for other in self.open):
            raise CannotCross("it contains itself")
        # A copy first: a thread may add to the original for as long as it is looked at.
        parts = [list(dict.keys(value)), list(dict.values(value))] if base is dict else [list(base.__iter__(value))]
        self.items += sum(map(len, parts))
        if self.items > self.bounds["items"]:
            raise CannotCross(f"it has more than {self.bounds['items']} elements")
        self.open.append(value)
        try:
            nodes = [[self.encode(v, depth + 1) for v in part] for part in parts]
            if base is dict:
                return {"t": "dict", "k": nodes[0], "v": nodes[1]}
            return nodes[0] if tag is None else {"t": tag, "v": nodes[0]}
        finally:
            self.open.pop()

    def encode_foreign(self, value, kind, depth):
        """A node for a value of NumPy, pandas, TensorFlow or Keras, or None."""
        np = sys.modules.get("numpy")
        if np is not None:
            if issubclass(kind, np.ndarray):
                return {"t": "array", "b": self.array(value)}
            if issubclass(kind, np.generic):
                return {"t": "scalar", "b": self.array(np.asarray(value))}
            if issubclass(kind, np.dtype):
                return str(value)
        pd = sys.modules.get("pandas")
        if pd is not None and hasattr(pd, "DataFrame"):
            if issubclass(kind, pd.DataFrame):
                columns = [value.iloc[:, i] for i in range(value.shape[1])]
                return {
                    "t": "frame",
                    "k": [self.encode(name, depth + 1) for name in value.columns],
                    "v": [self.column(column, depth) for column in columns],
                    "index": self.column(value.index, depth),
                    "name": self.encode(value.index.name, depth + 1),
                }
            if issubclass(kind, pd.Series):
                return {
                    "t": "series",
                    "v": self.column(value, depth),
                    "index": self.column(value.index, depth),
                    "name": self.encode(value.name, depth + 1),
                }
            if issubclass(kind, pd.Index):
                return self.column(value, depth)
        keras = sys.modules.get("keras")
        if keras is not None and hasattr(keras, "Model"):
            node = self.encode_keras(keras, value, kind, depth)
            if node is not None:
                return node
        tf = sys.modules.get("tensorflow")
        if tf is not None and hasattr(tf, "Tensor"):
            if issubclass(kind, (tf.Tensor, tf.Variable)):
                if not hasattr(value, "numpy"):
                    raise CannotCross("it is a tensor without a value")
                return {"t": "array", "b": self.array(value.numpy())}
            if issubclass(kind, tf.data.Dataset):
                return self.dataset(value, depth)
            if issubclass(kind, tf.TensorShape):
                return {"t": "tuple", "v": [self.encode(n) for n in value.as_list()]}
            if issubclass(kind, tf.DType):
                return value.name
        return None

    def encode_keras(self, keras, value, kind, depth):
        if issubclass(kind, keras.Model):
            return {"t": "model", "b": self.blob(self.model(value))}
        if issubclass(kind, keras.callbacks.History):
            return {
                "t": "history",
                "history": self.encode(getattr(value, "history", {}), depth + 1),
                "epoch": self.encode(getattr(value, "epoch", []), depth + 1),
                "params": self.encode(getattr(value, "params", None), depth + 1),
            }
        if issubclass(kind, keras.KerasTensor):
            shape = [None if n is None else int(n) for n in value.shape]
            return {"t": "keras_tensor", "shape": shape, "dtype": str(value.dtype), "name": str(value.name)}
        if issubclass(kind, (keras.Layer, keras.optimizers.Optimizer, keras.losses.Loss, keras.metrics.Metric)):
            config = keras.saving.serialize_keras_object(value)
            return {"t": "keras_object", "b": self.blob(json.dumps(config).encode())}
        if issubclass(kind, keras.Variable):
            return {"t": "array", "b": self.array(keras.ops.convert_to_numpy(value))}
        return None

    def array(self, value):
        import numpy as np

        value = np.asarray(value)
        if value.dtype.kind == "V" and value.dtype.names is None:  # bfloat16 and its like have no place in .npy
            value = value.astype("float32")
        if value.dtype.hasobject or value.dtype.kind not in "biufcUSMm":
            raise CannotCross(f"it is an array of {value.dtype}, and only arrays of numbers or text can be")
        if value.nbytes > self.bounds["value_bytes"] - 20_000:
            raise CannotCross(f"it is larger than {self.bounds['value_bytes'] >> 20} MB")
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return self.blob(file.getvalue())

    def column(self, values, depth):
        array = values.to_numpy()
        if array.ndim == 1 and array.dtype.kind in "biufMm":
            return {"t": "array", "b": self.array(array)}
        return self.encode([None if item is None else item for item in values.tolist()], depth + 1)

    def model(self, model):
        import shutil
        import tempfile
        import warnings

        folder = tempfile.mkdtemp()
        try:
            path = pathlib.Path(folder, "model.keras")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an unbuilt model may cross; the test says what is wrong with it
                model.save(path)
            if path.stat().st_size > self.bounds["value_bytes"]:
                raise CannotCross(f"it is larger than {self.bounds['value_bytes'] >> 20} MB")
            return path.read_bytes()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def dataset(self, dataset, depth):
        import numpy as np
        import tensorflow as tf

        spec = dataset.element_spec
        parts = spec if isinstance(spec, tuple) else (spec,)
        if len(parts) > 2 or not all(isinstance(part, tf.TensorSpec) for part in parts):
            raise CannotCross("it is a dataset of something else than images with labels")
        rank = parts[0].shape.rank
        if rank not in (3, 4):
            raise CannotCross("it is a dataset of something else than images with labels")
        batched = rank == 4
        chunks, size, total, limit = [[] for _ in parts], None, 0, self.bounds["value_bytes"] // 2
        for element in dataset:
            arrays = [part.numpy() for part in (element if isinstance(element, tuple) else (element,))]
            if batched and size is None:
                size = len(arrays[0])
            total += sum(array.nbytes for array in arrays)
            if total > limit:
                raise CannotCross(f"it is a dataset of more than {limit >> 20} MB, or one without an end")
            for chunk, array in zip(chunks, arrays, strict=True):
                chunk.append(array if batched else array[None])
        if not chunks[0]:
            raise CannotCross("it is an empty dataset")
        try:
            whole = [np.concatenate(chunk) for chunk in chunks]
        except ValueError:
            raise CannotCross("it is a dataset of images that differ in size") from None
        class_names = getattr(dataset, "class_names", None)
        return {
            "t": "dataset",
            "parts": [{"t": "array", "b": self.array(array)} for array in whole],
            "batch_size": size,
            "class_names": None if class_names is None else self.encode(list(class_names), depth + 1),
        }

    def file(self, name):
        """Index of the blob with the bytes of a regular file, or None."""
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            if status.st_size > self.bounds["value_bytes"]:
                raise CannotCross(f"it is larger than {self.bounds['value_bytes'] >> 20} MB")
            parts, left = [], self.bounds["value_bytes"] + 1
            while left and (part := os.read(descriptor, min(left, 1 << 20))):
                parts.append(part)
                left -= len(part)
            return self.blob(b"".join(parts))
        finally:
            os.close(descriptor)


def describe(kind):
    """'a function', 'a Figure': the kind of a value in a word."""
    name = getattr(kind, "__name__", "object")
    plain = {
        "function": "a function",
        "module": "a module",
        "type": "a class",
        "builtin_function_or_method": "a function",
    }
    return plain.get(name) or f"an object of the type {name}"


def collect(request, namespace):
    """Write the bundle for one test cell.

    Args:
        request: `names`, `files`, `bounds`, `nonce` and the path `outbox`.
        namespace: The student's variables by name.
    """
    collector = _Collector(request["bounds"])
    values, files, refused, missing = {}, {}, {}, []
    for name in request["names"]:
        if name not in namespace:
            missing.append(name)
            continue
        blobs, size, items, text = len(collector.blobs), collector.blob_bytes, collector.items, collector.text
        try:
            values[name] = collector.encode(namespace[name])
        except CannotCross as reason:
            refused[name] = f"`{name}` cannot be handed to the test: {reason}"
        except RecursionError:
            refused[name] = f"`{name}` cannot be handed to the test: it is nested too deeply"
        except MemoryError:
            refused[name] = f"`{name}` cannot be handed to the test: it needs too much memory"
        except Exception as error:
            lines = str(error).strip().splitlines()
            detail = ": " + lines[0][:160] if lines else ""
            refused[name] = f"`{name}` could not be copied for the test: {type(error).__name__}{detail}"
        if name in refused:
            del collector.blobs[blobs:]
            collector.blob_bytes, collector.items, collector.text, collector.open = size, items, text, []
    for name in request["files"]:
        try:
            index = collector.file(name)
            if index is not None:
                files[name] = index
        except CannotCross as reason:
            refused[name] = f"the file `{name}` cannot be handed to the test: {reason}"
        except Exception as error:
            refused[name] = f"the file `{name}` could not be read: {type(error).__name__}"
    header = {"nonce": request["nonce"], "values": values, "files": files, "refused": refused, "missing": missing}
    header["blobs"] = [len(blob) for blob in collector.blobs]
    text = json.dumps(header).encode("utf-8")
    if len(text) > request["bounds"]["header_bytes"]:
        reason = "the values that this test reads are too large together"
        header.update(values={}, files={}, refused=dict.fromkeys(request["names"], reason), blobs=[])
        collector.blobs, text = [], json.dumps(header).encode("utf-8")
    with pathlib.Path(request["outbox"]).open("r+b") as outbox:
        outbox.write(MAGIC + len(text).to_bytes(8, "big") + text)
        for blob in collector.blobs:
            outbox.write(blob)
        outbox.truncate()


if "REQUEST" in globals():
    collect(globals()["REQUEST"], globals()["NAMESPACE"])
