"""Which values cross, what arrives of them, and what a hostile bundle comes to."""

from __future__ import annotations

import collections
import json
import math
import os
import pathlib
import random
import sys

import numpy as np
import pandas as pd
import pytest
from bundles import BOUNDS, across, forged, honest, npy, npy_claiming, read, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.crossing import MAGIC, Bounds, Crossed, Refused, decode, file_names, free_names, plain_text

# --- which names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from helpers import checks\nchecks.equal(total, 6, 'total')", ["total"]),
        ("assert [x for x in labels] == sorted(labels)", ["labels"]),
        ("predictions = np_like(predictions)", ["np_like", "predictions"]),
        ("count = 3\nassert count == len(images)", ["images"]),
        ("def right(a):\n    return a == expected\nassert right(answer)", ["answer", "expected"]),
        ("import numpy as np\nassert np.allclose(a, b)", ["a", "b"]),
        ("import os.path\nassert os.path.exists(p)", ["p"]),
        ("for i, y in enumerate(ys):\n    assert y == i, f'{i}: {note}'", ["note", "ys"]),
        ("total += 1", ["total"]),
        ("if (n := len(xs)) > 2:\n    assert n", ["xs"]),
        ("try:\n    f = open_it\nexcept ValueError as error:\n    print(error)", ["open_it"]),
        ("assert {k: v for k, v in d.items() if k in keep}", ["d", "keep"]),
        ("check = lambda value: value == limit\nassert check(got)", ["got", "limit"]),
        ("class A:\n    size = width\n    also = size\nassert A.size", ["width"]),
        ("assert model.layers[0].units == units and not missing", ["missing", "model", "units"]),
    ],
)
def test_the_names_that_a_cell_reads_and_does_not_make_itself_cross(source, names):
    assert list(free_names(source)) == names


@pytest.mark.parametrize(
    "source", ["len(x)", "print(x)", "display(x)", "get_ipython(); x", "__name__; x; __builtins__"]
)
def test_builtins_and_dunder_names_never_cross(source):
    assert free_names(source) == ("x",)


def test_a_students_own_len_does_not_reach_the_judge():
    assert "len" not in free_names("assert len(x) == 3")
    crossed = decode(honest({"x": [1], "len": 3}), free_names("assert len(x) == 3"), [], BOUNDS)
    assert crossed.values == {"x": [1]}


def test_a_name_that_a_function_in_the_cell_keeps_to_itself_does_not_cross():
    assert free_names(
        "def f():\n    hidden = 1\n    def g():\n        return hidden\n    return g()\nassert f() == x"
    ) == ("x",)


def test_files_are_the_relative_paths_among_the_string_literals():
    source = "load('models/a.keras'); load('./b.npy'); f'{x}c.npy'; 'report.csv'"
    assert file_names(source) == ("b.npy", "c.npy", "models/a.keras", "report.csv")


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd.txt", "../a.npy", "a/../../b.npy", "models/..npy/../a.npy", "helpers.py", "a.pkl", "a b.npy",
     ".x.npy", "a//b.npy", "models/", "save your model as a.keras first", "~/a.npy", "a\0.npy", "x" * 300 + ".npy",
     "a\\b.npy"],
)  # fmt: skip
def test_absolute_paths_traversal_code_and_sentences_are_no_files_that_cross(name):
    assert file_names(repr(name)) == ()


# --- what arrives ---------------------------------------------------------------------------------------------------

hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(...) | st.binary(max_size=20),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
plain = st.recursive(
    hashable | st.complex_numbers(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
    ),
    max_leaves=20,
)


def same(a, b) -> bool:
    """Equality that takes NaN for equal to NaN and tells 1 from True and from 1.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and all(any(same(u, v) for v in b) for u in a)
    return a == b


@settings(max_examples=200, deadline=None)
@given(plain)
def test_plain_data_arrive_as_they_were(value):
    assert same(across(value), value)


@pytest.mark.parametrize("value", [2**63, -(2**64), 2**3000, -(2**63), 10**18, 2**63 - 1])
def test_whole_numbers_of_any_usual_size_arrive(value):
    assert across(value) == value


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (collections.Counter("abca"), {"a": 2, "b": 1, "c": 1}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, {1: [2]}), {1: [2]}),
        (collections.namedtuple("P", "x y")(1, 2), (1, 2)),
        (range(3, 9, 2), range(3, 9, 2)),
        (pathlib.Path("models/a.keras"), pathlib.Path("models/a.keras")),
        ({"a": 1}.keys(), ["a"]),
        ("\ud800", "\ud800"),
        ({(1, 2): {"deep": [None, ...]}}, {(1, 2): {"deep": [None, ...]}}),
    ],
)
def test_what_is_nearly_plain_arrives_as_plain_data(value, arrives):
    got = across(value)
    assert got == arrives
    assert type(got) is type(arrives)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([[1.5, np.nan], [np.inf, -0.0]]), np.array(3),
        np.array([True, False]), np.array(["cat", "dog"]), np.array([b"a"]), np.zeros((0, 3), np.float32),
        np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(10)[::-2], np.array(["2020-01-01"], "datetime64[D]"),
        np.array([1 + 2j]), np.array([1, 2], ">i4"), np.float16([1, 2]),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)  # fmt: skip
def test_arrays_arrive_with_shape_dtype_and_content(array):
    got = across(array)
    assert (got.shape, got.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(got, array)


def test_numpy_scalars_stay_numpy_scalars():
    got = across([np.float32(1.5), np.int64(3), np.bool_(True), np.str_("cat")])
    assert [type(v) for v in got] == [np.float32, np.int64, np.bool_, np.str_]
    assert got == [1.5, 3, True, "cat"]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"name": ["a", None], "accuracy": [0.5, np.nan], "n": [1, 2]}),
        pd.DataFrame({"x": [1, 2]}, index=["first", "second"]),
        pd.DataFrame([[1, 2], [3, 4]], columns=["same", "same"]),
        pd.DataFrame({"day": pd.to_datetime(["2024-01-01"]), "ok": [True]}),
        pd.DataFrame({"a": []}),
        pd.DataFrame({"kind": pd.Categorical(["u", "v"])}).assign(kind=lambda f: f["kind"].astype(str)),
    ],
)
def test_tables_arrive_as_columns(frame):
    pd.testing.assert_frame_equal(
        across(frame), frame, check_dtype=False, check_index_type=False, check_column_type=False
    )


def test_a_series_keeps_its_name_and_index():
    series = pd.Series([3, 1], index=["cat", "dog"], name="count")
    pd.testing.assert_series_equal(across(series), series, check_index_type=False)


class Lying:
    """An object that says that it is something else."""

    __class__ = dict

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1

    def __len__(self):
        return 3

    def __reduce__(self):
        return os.system, ("true",)

    def __array__(self, *args, **kwargs):
        return np.zeros(3)


@pytest.mark.parametrize(
    "value",
    [Lying(), lambda: 1, sys, Lying, object(), iter([]), (x for x in "a"), [Lying()], {"a": {1: Lying()}}, open],
)
def test_a_value_of_another_kind_is_refused_in_words_that_name_it(value):
    assert refusal(value).startswith("`x` cannot be handed to the test: it is ")


def test_an_array_of_objects_is_refused():
    assert "array of object" in refusal(np.array([1, "a", None], object))
    assert "array" in refusal(np.zeros(2, [("a", int)]))


def test_cycles_depth_and_number_are_refused_by_the_collector():
    cycle: list = []
    cycle.append(cycle)
    assert "contains itself" in refusal(cycle)
    deep: list = []
    for _ in range(2000):
        deep = [deep]
    assert "levels deep" in refusal(deep)
    assert "elements" in refusal({i: i for i in range(10**6)})
    wide = [0] * 40
    for _ in range(10):
        wide = [wide] * 40
    assert "elements" in refusal(wide)


def test_a_list_of_a_class_of_ones_own_is_copied_without_asking_it():
    class Growing(list):
        def __iter__(self):
            pytest.fail("the collector asked the object itself")

        def __len__(self):
            pytest.fail("the collector asked the object itself")

    assert across(Growing([1, 2])) == [1, 2]


def test_text_without_end_is_refused_and_its_neighbours_arrive():
    raw = honest({"x": "a" * (BOUNDS.header_bytes + 1), "y": "short"})
    crossed = decode(raw, ["x", "y"], [], BOUNDS)
    assert "too much text" in crossed.refused["x"]
    assert crossed.values == {"y": "short"}


def test_a_value_that_is_too_large_is_refused_and_its_neighbours_arrive():
    bounds = Bounds(value_bytes=100_000)
    raw = honest({"x": np.zeros(10**6), "y": np.arange(3)}, bounds=bounds)
    crossed = decode(raw, ["x", "y"], [], bounds)
    assert "larger than" in crossed.refused["x"]
    assert crossed.values["y"].tolist() == [0, 1, 2]


def test_a_name_that_the_notebook_lacks_is_missing_and_not_refused():
    crossed = decode(honest({"x": 1}), ["x", "nope"], [], BOUNDS)
    assert (crossed.missing, crossed.refused) == ({"nope"}, {})


def test_files_cross_from_the_work_folder_and_nothing_but_regular_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("models").mkdir()
    pathlib.Path("models/scores.npy").write_bytes(npy(np.arange(3)))
    os.mkfifo("pipe.txt")
    pathlib.Path("folder.txt").mkdir()
    names = ["models/scores.npy", "pipe.txt", "folder.txt", "absent.txt"]
    crossed = read(honest({"x": 1}, names), files=names)
    assert list(crossed.files) == ["models/scores.npy"]
    assert not crossed.refused


# --- hostile bundles ------------------------------------------------------------------------------------------------


def spelled(values: str) -> bytes:
    """A bundle whose `values` are spelled out as a stranger likes, and whose header is flawless otherwise."""
    text = f'{{"nonce": "", "values": {values}, "files": {{}}, "refused": {{}}, "missing": [], "blobs": []}}'
    return MAGIC + len(text).to_bytes(8, "big") + text.encode()


WHOLE = {
    "nothing": (b"", "nothing readable"),
    "other magic": (b"PK\3\4" + b"\0" * 50, "nothing readable"),
    "pickle": (b"\x80\4\x95" + b"\0" * 30, "nothing readable"),
    "header longer than the bundle": (MAGIC + (10**9).to_bytes(8, "big") + b"{}", "too large or were cut off"),
    "header of 2**64": (MAGIC + b"\xff" * 8 + b"{}", "too large or were cut off"),
    "no JSON": (MAGIC + (3).to_bytes(8, "big") + b"abc", "their list is damaged"),
    "a list": (MAGIC + (2).to_bytes(8, "big") + b"[]", "their list is damaged"),
    "bad UTF-8": (MAGIC + (2).to_bytes(8, "big") + b"\xff\xfe", "their list is damaged"),
    "a stale nonce": (forged(1, nonce="of an earlier test"), "belong to another test"),
    "values as a list": (forged(values=[1]), "their list is damaged"),
    "negative blob": (forged(1, sizes=[-5]), "their list is damaged"),
    "blob sizes that do not add up": (forged(1, sizes=[10**12]), "were cut off"),
    "a bool as a size": (forged(1, sizes=[False]), "their list is damaged"),
    "too many names": (forged(values={f"n{i}": 1 for i in range(1000)}), "too many of them"),
    "too many refusals": (forged(1, refused={f"n{i}": "" for i in range(1000)}), "their list is damaged"),
    "a name twice": (spelled('{"x": 1, "x": 2}'), "a name stands there twice"),
    "nested 100,000 deep": (spelled('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"), "nested too deeply"),
    "bare NaN": (spelled('{"x": NaN}'), "a bare NaN"),
    "a number of a million digits": (spelled('{"x": ' + "9" * 10**6 + "}"), "a number is too long"),
}


@pytest.mark.parametrize(("raw", "says"), WHOLE.values(), ids=WHOLE)
def test_a_bundle_that_makes_no_sense_is_refused_as_a_whole(raw, says):
    with pytest.raises(Refused, match=says):
        read(raw)


def test_the_same_bundle_without_a_flaw_is_read():
    assert read(spelled('{"x": [1, 2]}')).values == {"x": [1, 2]}


def _deep(levels: int) -> list:
    node: list = []
    for _ in range(levels):
        node = [node]
    return node


def claims(descr: str, shape: tuple) -> str:
    """The header text of an `.npy` file that claims this."""
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"


ARRAY = {"t": "array", "b": 0}

VALUES = {
    "unknown tag": ({"t": "pickle", "v": "x"}, []),
    "a method of the reader as a tag": ({"t": "_init__", "v": "x"}, []),
    "no tag": ({"v": []}, []),
    "a dict with an unhashable key": ({"t": "dict", "k": [[1]], "v": [1]}, []),
    "a set of lists": ({"t": "set", "v": [[1]]}, []),
    "keys that share a hash": (
        {"t": "dict", "k": [{"t": "int", "v": hex(i * (2**61 - 1))} for i in range(1, 200)], "v": [0] * 199}, [],
    ),
    "a set of one hash": ({"t": "set", "v": [{"t": "int", "v": hex(i * (2**61 - 1))} for i in range(1, 200)]}, []),
    "keys without values": ({"t": "dict", "k": [1, 2], "v": [1]}, []),
    "nested too deeply": (_deep(30), []),
    "out of range float": ({"t": "float", "v": "1e999"}, []),
    "endless hex": ({"t": "int", "v": "0x" + "f" * 5000}, []),
    "range of step 0": ({"t": "range", "v": [0, 1, 0]}, []),
    "a blob that is not there": ({"t": "bytes", "b": 7}, []),
    "a blob of index -1": ({"t": "bytes", "b": -1}, [b"a"]),
    "one blob used twice": ([{"t": "bytes", "b": 0}] * 2, [b"a"]),
    "too many elements": ([0] * 300_000, []),
    "a pickled array": (ARRAY, [npy(np.array([Lying], object), allow_pickle=True)]),
    "10**12 elements in 8 bytes": (
        ARRAY,
        [npy_claiming(claims("<f8", (1000000000000,)))],
    ),
    "10**12 elements on two axes": (
        ARRAY,
        [npy_claiming(claims("<f8", (1000000, 1000000)))],
    ),
    "a negative shape": (ARRAY, [npy_claiming(claims("<f8", (-1,)))]),
    "an empty axis beside an endless one": (
        ARRAY,
        [npy_claiming(claims("<f8", (0, 1000000000000000)), b"")],
    ),
    "forty axes": (
        ARRAY,
        [npy_claiming(claims("<f8", (1,) * 40))],
    ),
    "a dtype of objects": (ARRAY, [npy_claiming(claims("|O", (1,)))]),
    "a dtype of records": (
        ARRAY,
        [npy_claiming(claims("<f8", (1,)).replace("'<f8'", "[('a', '<f8')]"))],
    ),
    "a dtype that is raw memory": (ARRAY, [npy_claiming(claims("|V8", (1,)))]),
    "code in the array's header": (ARRAY, [npy_claiming("__import__('os').abort()")]),
    "an array header of 60 kB": (ARRAY, [npy_claiming("{" + " " * 60_000 + "}")]),
    "a header nested deeply": (ARRAY, [npy_claiming("(" * 9_000)]),
    "an array of version 3": (ARRAY, [npy_claiming("{}", version=b"\3\0")]),
    "text beyond Unicode": (
        ARRAY,
        [npy_claiming(claims("<U1", (2,)), b"\xff" * 8)],
    ),
    "a scalar with a shape": ({"t": "scalar", "b": 0}, [npy(np.arange(3))]),
    "a table of unequal columns": (
        {"t": "frame", "k": ["a", "b"], "v": [[1], [1, 2]], "index": [0], "name": None}, [],
    ),
    "a table of scalars": ({"t": "frame", "k": ["a"], "v": [1], "index": 0, "name": None}, []),
    "a column in two dimensions": (
        {"t": "series", "v": ARRAY, "index": [0, 1], "name": None}, [npy(np.zeros((2, 2)))],
    ),
    "a dataset of text": (
        {"t": "dataset", "parts": [ARRAY], "batch_size": 1, "class_names": None}, [npy(np.array(["a"]))],
    ),
    "a dataset with labels missing": (
        {"t": "dataset", "parts": [ARRAY, {"t": "array", "b": 1}], "batch_size": 1, "class_names": None},
        [npy(np.zeros((3, 2))), npy(np.zeros(2))],
    ),
    "a dataset in batches of -1": (
        {"t": "dataset", "parts": [ARRAY], "batch_size": -1, "class_names": None}, [npy(np.zeros(3))],
    ),
    "a path that is a number": ({"t": "path", "v": 3}, []),
    "a symbolic tensor of odd shape": ({"t": "keras_tensor", "shape": [-1], "dtype": "float32", "name": "a"}, []),
    "a symbolic tensor of odd dtype": ({"t": "keras_tensor", "shape": [1], "dtype": "resource", "name": "a"}, []),
}  # fmt: skip


@pytest.mark.parametrize(("node", "blobs"), VALUES.values(), ids=VALUES)
def test_a_hostile_value_is_refused_and_breaks_nothing(node, blobs):
    crossed = read(forged(node, blobs))
    assert "x" not in crossed.values
    assert crossed.refused["x"].startswith("`x` cannot be handed to the test: ")


def test_an_array_of_bools_holds_nothing_but_true_and_false():
    raw = npy_claiming(claims("|b1", (4,)), b"\0\1\2\xff")
    got = read(forged(ARRAY, [raw])).values["x"]
    assert got.tolist() == [False, True, True, True]
    assert got.view(np.uint8).tolist() == [0, 1, 1, 1]


def test_only_the_names_that_were_asked_for_arrive():
    crossed = decode(forged(values={"x": 1, "checks": 2, "__builtins__": 3}), ["x"], [], BOUNDS)
    assert crossed.values == {"x": 1}


def test_files_that_nobody_asked_for_do_not_arrive():
    raw = forged(1, [b"import os"], files={"helpers.py": 0})
    assert read(raw).files == {}
    assert read(raw, files=["helpers.py"]).files == {}
    raw = forged(1, [b"x"], files={"../a.txt": 0})
    assert read(raw, files=["../a.txt"]).files == {}


def test_a_refusal_from_a_stranger_shows_as_plain_short_text():
    raw = forged(values={}, refused={"x": "\x1b[31mred\x1b[0m \ud800\u202e" + "a" * 10_000})
    text = read(raw).refused["x"]
    assert text.startswith("red ")
    assert len(text) == 300
    text.encode("utf-8")
    assert "\u202e" not in text


def test_plain_text_keeps_lines_and_takes_control_characters_out():
    assert plain_text("a\nb\tc") == "a\nb\tc"
    assert "\x00" not in plain_text("a\x00b\x9bc")


# --- fuzz -----------------------------------------------------------------------------------------------------------


def _decode_quietly(raw: bytes, names=("x", "y"), files=("a.npy", "b.npz", "c.txt")) -> Crossed | None:
    try:
        return decode(raw, names, files, BOUNDS)
    except Refused:
        return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_refused_and_nothing_worse(content, with_frame):
    raw = MAGIC + len(content).to_bytes(8, "big") + content if with_frame else content
    assert _decode_quietly(raw) is None


SEED_BUNDLE = honest(
    {
        "x": [1, 2.5, "a", (None, ...), {1: np.arange(5), "b": {3, 4}}, float("nan"), 2**70],
        "y": pd.DataFrame({"a": [1, 2], "b": ["u", "v"]}),
    }
)


@settings(max_examples=600, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_damaged_bundle_decodes_or_is_refused_and_nothing_worse(rng: random.Random, times):
    raw = bytearray(SEED_BUNDLE)
    for _ in range(times):
        at, how = rng.randrange(len(raw)), rng.randrange(4)
        if how == 0:
            raw[at] = rng.randrange(256)
        elif how == 1:
            del raw[at : at + rng.randrange(1, 9)]
        elif how == 2:
            raw[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            raw[at:at] = raw[max(0, at - 20) : at]
    _decode_quietly(bytes(raw))


tags = st.sampled_from(
    ["tuple", "set", "frozenset", "dict", "ellipsis", "float", "int", "complex", "range", "bytes", "path", "array",
     "scalar", "series", "frame", "value", "file", "blob", "sequence", ""]
)  # fmt: skip
nodes = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["t", "v", "k", "b", "index", "name"]), inner, max_size=6)
        | st.fixed_dictionaries(
            {"t": tags, "v": inner},
            optional={"k": st.lists(inner, max_size=3), "b": st.integers(-1, 3), "index": inner},
        )
    ),
    max_leaves=25,
)


@settings(max_examples=600, deadline=None)
@given(nodes, st.lists(st.binary(max_size=200) | st.just(npy(np.arange(4))), max_size=3))
def test_any_tree_of_nodes_decodes_or_is_refused_and_nothing_worse(node, blobs):
    crossed = _decode_quietly(forged(node, blobs, files={"a.npy": 0, "b.npz": 1, "c.txt": 2}))
    assert crossed is None or crossed.values.keys() <= {"x"}


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet="{}()[]'\":,<>|OVfUi80123456789 descrshapefortan_order", max_size=80),
    st.binary(max_size=40),
)
def test_any_header_of_an_array_is_read_or_refused_and_nothing_worse(header, body):
    _decode_quietly(forged(ARRAY, [npy_claiming(header, body)]))


def test_bounds_survive_the_way_to_the_judge():
    bounds = Bounds(values=3, text=50)
    assert Bounds(**json.loads(json.dumps(bounds.to_dict()))) == bounds
