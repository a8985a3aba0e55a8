"""Inside the student kernel, for the bank of answers alone: remember what a notebook has, and put it back.

Run by `exec` in a namespace of its own. `save(names)` remembers the values of a notebook's names, the files of the
working folder and the state of the random numbers; `restore(names)` puts it all back, as often as it is called.

Nothing is copied and replaced: every object stays the one that it is, and gets back what it held. From the notebook's
names all that an answer can change is looked up: containers, arrays, tables, Keras models with all that belongs to them
(layers, weights, optimizer, loss, compiled functions, seed generators, flags), objects of the notebook's own classes,
and what Keras and TensorFlow keep for themselves (names given, seeds). So two names of one object stay two names of one
object, and a model that was compiled and trained stays compiled, with its optimizer where it was.

What cannot be put back: how far an iterator has come, how often a shuffled dataset has been read (each pass has another
order), and changes to modules. Forking the kernel would keep these too, but TensorFlow's threads do not survive a fork.
"""

import collections
import contextlib
import os
import random
import shutil
import sys
import tempfile
import types
from pathlib import Path

SAVED = {}
#: Whose objects are looked into, by the first part of the name of the module that has their class.
_OWNERS = ("__main__", "keras", "keras_tuner", "helpers")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type, types.ModuleType, types.BuiltinFunctionType)


def _own(names):
    hidden = set(names["get_ipython"]().user_ns_hidden) if "get_ipython" in names else set()
    return {name: value for name, value in names.items() if not name.startswith("_") and name not in hidden}


def _has(module, path, value):
    """Whether a value is of a class of a module, which is not imported for that."""
    found = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is not None and isinstance(value, found)


# --- one object: what it holds, and a function that puts that back ---------------------------------------------------


def _dict(value):
    kind = collections.OrderedDict if isinstance(value, collections.OrderedDict) else dict
    held = list(dict.items(value))

    def back():
        now = list(dict.items(value))
        if len(now) != len(held) or any(a is not c or b is not d for (a, b), (c, d) in zip(now, held, strict=False)):
            kind.clear(value)
            for key, item in held:
                kind.__setitem__(value, key, item)

    return back, [each for pair in held for each in pair]


def _list(value):
    held = list.copy(value)
    return lambda: list.__setitem__(value, slice(None), held), held


def _set(value):
    held = set.copy(value)

    def back():
        set.clear(value)
        set.update(value, held)

    return back, held


def _deque(value):
    held = list(value)

    def back():
        value.clear()
        value.extend(held)

    return back, held


def _bytearray(value):
    held = bytes(value)
    return lambda: value.__setitem__(slice(None), held), ()


def _array(value):
    held, shape, writable = value.copy(), value.shape, value.flags.writeable

    def back():
        if value.shape != shape:
            value.shape = shape
        if writable:
            value.flags.writeable = True
            value[...] = held
        elif value.flags.writeable:
            value.flags.writeable = False

    return back if writable else None, held.ravel().tolist() if value.dtype.hasobject else ()


def _table(value):
    held = value.copy(deep=True)
    return lambda: value._update_inplace(held.copy(deep=True)), ()


def _variable(value):
    held = value.numpy()

    def back():
        if value.numpy().tobytes() != held.tobytes():
            value.assign(held)

    return back, ()


def _generator(value):
    held = value.bit_generator.state
    return lambda: setattr(value.bit_generator, "state", held), ()


def _python_random(value):
    held = value.getstate()
    return lambda: value.setstate(held), ()


def _function(value):
    cells = []
    for cell in value.__closure__ or ():
        with contextlib.suppress(ValueError):  # an empty one
            cells.append((cell, cell.cell_contents))

    def back():
        for cell, held in cells:
            cell.cell_contents = held

    return back, [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *(held for _, held in cells)]


def _attributes(value):
    # Written into the dictionary itself: Keras and TensorFlow keep track of what is set in any other way.
    return _dict(vars(value))


def _dataset(value):
    back, held = _dict(vars(value))
    return back, [each for each in held if isinstance(each, list)]  # the names of the classes, but not TensorFlow's own


def _ways(value):
    """How to look at an object, as functions; none if an answer cannot change it, or nothing can put it back."""
    kind = type(value)
    if issubclass(kind, _PLAIN):
        return []
    if issubclass(kind, (tuple, frozenset)):
        return [lambda whole: (None, whole)]
    if hasattr(kind, "__wrapped__") and kind.__module__.startswith("tensorflow."):
        return [lambda proxy: (None, [proxy.__wrapped__])]
    if kind is types.FunctionType:
        return [_function] if value.__module__ == "__main__" else []
    ways = []
    for base, way in ((dict, _dict), (list, _list), (set, _set), (collections.deque, _deque), (bytearray, _bytearray)):
        if issubclass(kind, base):
            ways.append(way)
    if isinstance(value, random.Random):
        ways.append(_python_random)
    for module, path, way in (
        ("numpy", "ndarray", _array),
        ("numpy", "random.Generator", _generator),
        ("pandas", "DataFrame", _table),
        ("pandas", "Series", _table),
        ("tensorflow", "Variable", _variable),
        ("tensorflow", "data.Dataset", _dataset),
    ):
        if _has(module, path, value):
            return [*ways, way]
    owned = kind.__module__.partition(".")[0] in _OWNERS or kind is types.SimpleNamespace or bool(ways)
    if owned and isinstance(getattr(value, "__dict__", None), dict):
        ways.append(_attributes)
    return ways


def _remember(roots):
    """Functions that put back all that can be reached from some values, each object looked at once."""
    backs, seen, waiting = [], {}, list(roots)
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        ways = _ways(value)
        if not ways:
            continue
        seen[id(value)] = value  # kept, so that no other object gets its id meanwhile
        for way in ways:
            try:
                back, inside = way(value)
            except Exception:
                continue  # an object that cannot be looked at is left alone
            if back is not None:
                backs.append(back)
            waiting.extend(inside)
    return backs


# --- what does not hang on a name ------------------------------------------------------------------------------------


def _keras_globals():
    """What Keras keeps for this thread, as dictionaries: names that it gave, seeds, its policy."""
    module = sys.modules.get("keras.src.backend.common.global_state")
    if module is None:
        return [], lambda: None
    held = {name: getattr(module, name) for name in ("GLOBAL_STATE_TRACKER", "GLOBAL_SETTINGS_TRACKER")}

    def back():
        for name, value in held.items():
            setattr(module, name, value)

    return [vars(value) for value in held.values()], back


def _random_numbers():
    """A function that puts back the random numbers of Python, NumPy and TensorFlow."""
    python = random.getstate()
    numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
    module = sys.modules.get("tensorflow.python.eager.context")
    context = module.context() if module is not None else None
    drawn = getattr(context, "_rng", None)
    tensorflow = None if context is None else (context._seed, drawn and drawn.getstate())
    one = getattr(sys.modules.get("tensorflow.python.ops.stateful_random_ops"), "global_generator", None)
    generator = None if one is None else one.state.numpy()

    def back():
        random.setstate(python)
        if numpy is not None:
            sys.modules["numpy"].random.set_state(numpy)
        if tensorflow is not None:
            seed, state = tensorflow
            # Forgets the operations that have drawn numbers already, as well as setting the seed.
            context._set_global_seed(0 if seed is None else seed)
            context._seed = seed
            if state is not None:
                context._rng.setstate(state)
        if generator is not None:
            one.state.assign(generator)

    return back


def _drawing():
    module = sys.modules.get("matplotlib")
    if module is None:
        return lambda: None
    held = dict(dict.items(module.rcParams))

    def back():
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")
        dict.update(module.rcParams, held)

    return back


def _mounted(folder):
    """The entries of a folder that hold something mounted: nobody made these here, and nobody can change them."""
    try:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return set()
    inside = f"{Path(folder).resolve()}/".replace("//", "/")
    return {mount.removeprefix(inside).split("/")[0] for mount in mounts if mount.startswith(inside)}


def _copy_folder(source, target):
    kept = _mounted(source) | _mounted(target)
    for path in Path(target).iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    top = str(source)
    shutil.copytree(
        source,
        target,
        dirs_exist_ok=True,
        symlinks=True,
        ignore=lambda folder, names: kept if str(folder) == top else (),
    )


def save(names):
    """Remember what there is now."""
    own = _own(names)
    folder = SAVED.get("folder") or tempfile.mkdtemp(prefix="bank-")
    home = Path.cwd()
    _copy_folder(home, folder)
    roots, keras = _keras_globals()
    SAVED.clear()
    SAVED.update(
        names=own,
        folder=folder,
        home=home,
        backs=[keras, *_remember([*own.values(), *roots, os.environ._data, sys.path]), _drawing(), _random_numbers()],
    )
    SAVED["backs"][-1]()  # the first answer meets what all the others will


def restore(names):
    """Make everything as it was when it was remembered."""
    for name in _own(names):
        del names[name]
    names.update(SAVED["names"])
    os.chdir(SAVED["home"])
    _copy_folder(SAVED["folder"], SAVED["home"])
    for back in SAVED["backs"]:
        back()
