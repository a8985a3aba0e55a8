"""A stranger's Keras models, looked through before Keras opens them.

A `.keras` file is a zip of a configuration, from which Keras builds objects by name, and an HDF5 file of weights. Each
of the three can carry more than a model: the zip a bomb or a path out of the folder, the configuration code (a lambda)
or the name of any class that Keras can import, the HDF5 file links to other files on the machine. So each is checked
here against what the course's models need, and only then given to Keras, with `safe_mode=True`. Runs only in the judge
process.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.crossing import Bounds, Refused

if TYPE_CHECKING:
    import keras

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_CONFIG_BYTES = 4 << 20
_CONFIG_ITEMS = 100_000
_CONFIG_DEPTH = 60
_COMPRESSION = 200  # Keras stores without compression; deflate of plain zeros reaches about 1000

# Layers that run code from elsewhere, read files by name, or need a saved asset.
_REFUSED_LAYERS = frozenset(
    {
        "Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "StringLookup", "IntegerLookup",
        "TextVectorization", "Hashing", "HashedCrossing", "FeatureSpace", "MelSpectrogram", "STFTSpectrogram",
        "Wrapper", "Layer", "Discretization",
    }
)  # fmt: skip

# What a configuration may name besides layers, by Keras's module: None stands for any class of the module.
_OTHER_CLASSES: dict[str, frozenset[str] | None] = {
    "keras.initializers": None,
    "keras.regularizers": None,
    "keras.constraints": None,
    "keras.losses": None,
    "keras.metrics": None,
    "keras.optimizers": None,
    "keras.optimizers.schedules": None,
    "keras.dtype_policies": None,
    "keras": frozenset({"Sequential", "DTypePolicy"}),
    "keras.models": frozenset({"Sequential"}),
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.src.models.sequential": frozenset({"Sequential"}),
}
# Modules of operations that a functional model records for `x * 2` or `keras.ops.mean(x)`; they take no function.
_OPERATION_MODULES = frozenset({"keras.src.ops.numpy", "keras.src.ops.nn"})
_FUNCTION_MODULES = frozenset({"builtins", "keras.activations", "keras.losses", "keras.metrics"})
_PLAIN_TAGS = frozenset({"__keras_tensor__", "__slice__", "__ellipsis__"})


def read_zip(raw: bytes | memoryview, bounds: Bounds, most_members: int = 8) -> dict[str, bytes]:
    """The members of a zip file, by name.

    Raises:
        Refused: Not a zip file, too many members, a name twice or out of the folder, or more bytes than may cross.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
    except Exception:
        raise Refused("it is not a complete file of its kind") from None
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(names) > most_members or len(set(names)) != len(names):
        raise Refused("it has more parts than such a file has")
    if any("/" in n or "\\" in n or n.startswith(".") or "\0" in n for n in names):
        raise Refused("it has a part that does not belong there")
    if sum(info.file_size for info in infos) > bounds.value_bytes:
        raise Refused(f"unpacked it is larger than {bounds.value_bytes >> 20} MB")
    members = {}
    for info in infos:
        if info.file_size > _COMPRESSION * max(info.compress_size, 4096):
            raise Refused("it is packed more tightly than such a file ever is")
        if info.flag_bits & 1:
            raise Refused("it is locked with a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # The others are unpacked in whole chunks, each of which may grow to hundreds of MB.
            raise Refused("it is packed in a way that such a file never is")
        try:
            with archive.open(info) as member:
                # Not `archive.read`, which unpacks all that is there before it looks at the size that was stated.
                content = member.read(info.file_size + 1)
        except Exception:
            raise Refused("it is damaged") from None
        if len(content) != info.file_size:
            raise Refused("it is damaged")
        members[info.filename] = content
    return members


def checked_keras_file(raw: bytes | memoryview, bounds: Bounds) -> bytes:
    """The `.keras` file rebuilt from its checked parts, and from nothing else that it held.

    Raises:
        Refused: The file is damaged or holds anything but a model of built-in layers.
    """
    members = read_zip(raw, bounds)
    if bytes(raw[:4]) != b"PK\x03\x04":  # an archive is found inside of other files too, a pickle for one
        raise Refused("it is not a model that `model.save` wrote as `.keras`: it begins as another kind of file does")
    if _CONFIG not in members or _WEIGHTS not in members:
        raise Refused("it is not a model that `model.save` wrote as `.keras`")
    extra = set(members) - {_CONFIG, _METADATA, _WEIGHTS}
    if extra:
        raise Refused("it carries files besides the model")
    check_config(_parse(members[_CONFIG]), bounds)
    check_weights(members[_WEIGHTS], bounds)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in (_METADATA, _CONFIG, _WEIGHTS):
            archive.writestr(name, members.get(name, b"{}"))
    return file.getvalue()


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > _CONFIG_BYTES:
        raise Refused("the description of the model is too long")
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused("the description of the model is damaged") from None
    if not isinstance(config, dict):
        raise Refused("the description of the model is damaged")
    return config


def check_config(config: Any, bounds: Bounds) -> None:
    """Walk a Keras configuration and refuse whatever is not built into Keras.

    Args:
        config: The parsed `config.json`, or the configuration of a single layer.
        bounds: `layers` bounds the number of layers.

    Raises:
        Refused: A class, a function or a tag that is not on the list.
    """
    left = {"items": _CONFIG_ITEMS, "layers": bounds.layers}

    def walk(node: Any, depth: int) -> None:
        left["items"] -= 1
        if left["items"] < 0 or depth > _CONFIG_DEPTH:
            raise Refused("the description of the model is too long")
        if isinstance(node, dict):
            if "class_name" in node:
                _check_class(node, left)
            if node.get("class_name") == "__keras_tensor__":
                _check_shape(node["config"].get("shape") if isinstance(node.get("config"), dict) else None)
            for key, value in node.items():
                if not isinstance(key, str):
                    raise Refused("the description of the model is damaged")
                if (
                    key.endswith("shape")
                    and isinstance(value, list)
                    and not any(isinstance(v, list | dict) for v in value)
                ):
                    _check_shape(value)
                walk(value, depth + 1)
        elif isinstance(node, list | tuple):
            for value in node:
                walk(value, depth + 1)
        elif isinstance(node, str):
            if len(node) > 10_000:
                raise Refused("the description of the model is too long")
        elif isinstance(node, int) and not isinstance(node, bool) and abs(node) > 1 << 63:
            raise Refused("the description of the model holds a number that is too large")

    walk(config, 0)


def _check_shape(shape: Any) -> None:
    if not isinstance(shape, list | tuple) or len(shape) > 16:
        raise Refused("the description of the model is damaged")
    sizes = [n for n in shape if n not in (None, -1)]
    if not all(type(n) is int and n >= 0 for n in sizes) or math.prod(sizes) > 1 << 28:
        raise Refused("a layer of the model is too large")


def _check_class(node: dict[str, Any], left: dict[str, int]) -> None:
    import keras

    name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if not isinstance(name, str) or not (module is None or isinstance(module, str)):
        raise Refused("the description of the model is damaged")
    if name in ("__lambda__", "Lambda"):
        raise Refused("it contains a lambda, which is code; use built-in layers instead")
    if name in _PLAIN_TAGS:
        return
    if name == "function":
        function = node.get("config")
        if module in _FUNCTION_MODULES and isinstance(function, str) and function.isidentifier():
            known = ("activations", "losses", "metrics")
            if any(callable(getattr(getattr(keras, place), function, None)) for place in known):
                return
        raise Refused(f"it uses the function `{_short(function)}`, which is not built into Keras; use built-in ones")
    if registered not in (None, name):
        raise Refused(f"it uses `{_short(registered)}`, which is not built into Keras; use built-in layers instead")
    if module == "keras.layers":
        left["layers"] -= 1
        if left["layers"] < 0:
            raise Refused("it has too many layers")
        layer = getattr(keras.layers, name, None)
        if isinstance(layer, type) and issubclass(layer, keras.Layer) and name not in _REFUSED_LAYERS:
            return
        raise Refused(f"it uses the layer `{_short(name)}`, which a test cannot load; use other built-in layers")
    if module in _OPERATION_MODULES:
        import importlib

        operation = vars(importlib.import_module(module)).get(name)
        if isinstance(operation, type) and issubclass(operation, keras.Operation):
            return
    elif module in _OTHER_CLASSES:
        names = _OTHER_CLASSES[module]
        if names is not None:
            if name in names:
                return
        else:
            place: Any = keras
            for part in module.split(".")[1:]:
                place = getattr(place, part)
            found = getattr(place, name, None)
            if isinstance(found, type) and hasattr(found, "from_config"):
                return
    raise Refused(f"it uses `{_short(name)}`, which is not built into Keras; use built-in layers instead")


def _short(name: object) -> str:
    return "".join(c for c in str(name)[:60] if c.isprintable() and c != "`")


def check_weights(raw: bytes, bounds: Bounds) -> None:
    """Look through an HDF5 file of weights without reading a single weight.

    Raises:
        Refused: Links, external or virtual storage, filters, element types or shapes that no saved weights have.
    """
    import h5py

    try:
        file = h5py.File(io.BytesIO(raw), "r")
    except Exception:
        raise Refused("the weights of the model are damaged") from None
    left = {"objects": 20_000, "bytes": bounds.value_bytes}
    seen: set[Any] = set()

    def walk(group: Any, depth: int) -> None:
        _check_attributes(group)
        for name in group:
            left["objects"] -= 1
            if left["objects"] < 0 or depth > 40:
                raise Refused("the weights of the model have too many parts")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Refused("the weights of the model link to somewhere else")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise Refused("the weights of the model link to somewhere else")
            seen.add(address)
            if isinstance(item, h5py.Group):
                walk(item, depth + 1)
            elif isinstance(item, h5py.Dataset):
                left["bytes"] -= _check_weight(item)
                if left["bytes"] < 0:
                    raise Refused("the weights of the model are too large")
            else:
                raise Refused("the weights of the model hold something else than weights")

    with file:
        try:
            walk(file, 0)
        except Refused:
            raise
        except Exception:
            raise Refused("the weights of the model are damaged") from None


def _check_attributes(group: Any) -> None:
    for name in group.attrs:
        attribute = group.attrs.get_id(name)
        if attribute.get_storage_size() > 100_000 or attribute.get_type().get_class() not in (0, 1, 3, 9):
            raise Refused("the weights of the model hold something else than weights")
        if name in ("model_config", "training_config"):
            raise Refused("it is a whole model in the old `.h5` format; save it as `.keras`")


def _check_weight(data: Any) -> int:
    """Bytes of one dataset that holds what it says that it holds."""
    if data.external or data.is_virtual:
        raise Refused("the weights of the model are stored somewhere else")
    if data.id.get_create_plist().get_nfilters():
        raise Refused("the weights of the model are packed, as Keras never does")
    dtype = data.dtype
    if dtype.hasobject:
        raise Refused("the weights of the model hold something else than numbers")
    size = math.prod(data.shape or ()) * dtype.itemsize
    if dtype.kind not in "biufVS" or size > data.id.get_storage_size():
        raise Refused("the weights of the model are damaged: a shape does not fit its size")
    _check_attributes(data)
    return size


@contextlib.contextmanager
def _bounded_weights(most: int) -> Iterator[list[int]]:
    """While Keras builds a model, count the weights before each is allocated.

    A description of ten bytes (`units: 10**12`) asks for memory that no check of the file's size can foresee.
    """
    import keras

    original, count = keras.Layer.add_weight, [0]

    def add_weight(layer: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        sizes = (shape,) if isinstance(shape, int) else tuple(shape or ())
        count[0] += math.prod(int(n) for n in sizes)
        if count[0] > most:
            raise Refused(f"it has more than {most:,} weights")
        return original(layer, shape, *args, **kwargs)

    keras.Layer.add_weight = add_weight
    try:
        yield count
    finally:
        keras.Layer.add_weight = original


def load_model(raw: bytes | memoryview, bounds: Bounds, most_weights: int) -> tuple[keras.Model, int]:
    """Load a model from the bytes of a stranger's `.keras` file.

    Args:
        raw: The whole file.
        bounds: What may cross.
        most_weights: How many weights the model may have.

    Returns:
        The model, compiled if it was, and the number of its weights.

    Raises:
        Refused: The file holds anything but a model of built-in layers of bounded size.
    """
    import keras

    content = checked_keras_file(raw, bounds)
    with tempfile.TemporaryDirectory() as folder, _bounded_weights(most_weights) as count:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        try:
            model = keras.saving.load_model(path, safe_mode=True)
        except Exception as error:
            raise _find_refusal(error) or Refused(
                f"Keras could not load it again ({type(error).__name__}); models of built-in layers can be"
            ) from None
    if not isinstance(model, keras.Model):
        raise Refused("it is not a model")
    _check_layer_sizes(model)
    return model, count[0]


def _find_refusal(error: BaseException | None) -> Refused | None:
    """The refusal that Keras may have wrapped into an error of its own."""
    for _ in range(20):
        if error is None:
            return None
        if isinstance(error, Refused):
            return error
        error = error.__cause__ or error.__context__
    return None


def _check_layer_sizes(model: Any) -> None:
    for layer in getattr(model, "layers", ()):
        try:
            shape = layer.output.shape
        except (AttributeError, ValueError, RuntimeError):
            continue
        if isinstance(shape, tuple):
            _check_shape([n if n is None else int(n) for n in shape[1:]])


def load_object(raw: bytes | memoryview, bounds: Bounds) -> Any:
    """Build a layer, an optimizer, a loss or a metric anew from its configuration, without weights.

    Raises:
        Refused: The configuration names anything that is not built into Keras.
    """
    import keras

    config = _parse(bytes(raw))
    if config.get("class_name") in _PLAIN_TAGS or config.get("class_name") == "function":
        raise Refused("it is not a Keras object")
    check_config(config, bounds)
    with _bounded_weights(bounds.weights):
        try:
            found = keras.saving.deserialize_keras_object(config, safe_mode=True)
        except Exception as error:
            raise _find_refusal(error) or Refused(f"Keras could not build it again ({type(error).__name__})") from None
    kinds = (keras.Layer, keras.optimizers.Optimizer, keras.losses.Loss, keras.metrics.Metric)
    if not isinstance(found, kinds):
        raise Refused("it is not a Keras object")
    return found
