"""Inside the student kernel, for the bank of answers alone: remember what a notebook has, and put it back.

Run by `exec` in a namespace of its own. `save(names)` remembers the values of a notebook's names and the files of the
working folder; `restore(names)` puts both back, as often as it is called.

Plain containers, arrays, tables and Keras models are copied, with what they share kept shared. A model that nobody
changed stays the object that it is, for copying one costs a tenth of a second. Everything else (functions, datasets,
tensors of a graph) cannot be changed by an answer, or not sensibly, and is kept as it is.
"""

import copy
import hashlib
import random
import shutil
import sys
import tempfile
from pathlib import Path

SEED = 32
SAVED = {}


def _is_model(value):
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.Model)


def _is_copied(value):
    if isinstance(value, (dict, list, set, bytearray)) or _is_model(value):
        return True
    for module, kinds in (
        ("numpy", ("ndarray",)),
        ("pandas", ("DataFrame", "Series")),
        ("keras", ("callbacks.History",)),
    ):
        if module in sys.modules:
            for kind in kinds:
                found = sys.modules[module]
                for part in kind.split("."):
                    found = getattr(found, part)
                if isinstance(value, found):
                    return True
    return False


def _state(model):
    """What tells a changed model from an unchanged one."""
    digest = hashlib.blake2b()
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    compiled = [id(getattr(model, name, None)) for name in ("optimizer", "loss")]
    return digest.digest(), tuple(compiled), tuple((id(layer), layer.trainable) for layer in model.layers)


def _own(names):
    hidden = set(names["get_ipython"]().user_ns_hidden) if "get_ipython" in names else set()
    return {name: value for name, value in names.items() if not name.startswith("_") and name not in hidden}


def _copies(values, memo):
    """Copies of values that share what the values share; a value that cannot be copied is kept."""
    found = {}
    for name, value in values.items():
        try:
            found[name] = copy.deepcopy(value, memo) if _is_copied(value) else value
        except Exception:
            found[name] = value
    return found


def save(names):
    """Remember what there is now."""
    own = _own(names)
    memo = {}
    pristine = _copies(own, memo)
    models = {}
    for value in own.values():
        if _is_model(value) and id(value) in memo:
            models[id(memo[id(value)])] = (value, _state(value))
    if "folder" in SAVED:
        shutil.rmtree(SAVED["folder"])
    folder = tempfile.mkdtemp(prefix="bank-")
    shutil.copytree(Path.cwd(), folder, dirs_exist_ok=True)
    SAVED.update(values=pristine, models=models, folder=folder)
    _seed()


def restore(names):
    """Make everything as it was when it was remembered."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    memo = {}
    for pristine, (model, state) in SAVED["models"].items():
        try:
            if _state(model) == state:
                memo[pristine] = model
        except Exception:
            pass
    for name in _own(names):
        del names[name]
    names.update(_copies(SAVED["values"], memo))
    for path in Path.cwd().iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.copytree(SAVED["folder"], Path.cwd(), dirs_exist_ok=True)
    _seed()


def _seed():
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(SEED)
