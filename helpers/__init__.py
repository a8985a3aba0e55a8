"""What a student imports: data, models, plots, hints and checks.

Importing this package is quick and silent: TensorFlow is loaded only when something needs it. Import `helpers` before
TensorFlow, and TensorFlow's start-up messages about missing graphics cards stay out of the notebook.
"""

from __future__ import annotations

import gc
import importlib
import os
import platform
import warnings
from typing import TYPE_CHECKING

from helpers import quiet, tracing

if TYPE_CHECKING:
    from helpers import blanks, checks, data, diagrams, hints, leaks, memory, models, pictures, plots, sealed
    from helpers.blanks import filled
    from helpers.data import data_folder, prepare_datasets
    from helpers.diagrams import plot_convolution, plot_descent, plot_network, plot_pooling
    from helpers.hints import hint
    from helpers.leaks import leaky_split
    from helpers.memory import colleagues_model
    from helpers.models import create_model_intro
    from helpers.pictures import strange_pictures, ways_to_prepare
    from helpers.plots import (
        compare_histories,
        plot_confidence,
        plot_confusion_matrix,
        plot_history,
        plot_probabilities,
        plot_trials,
        show_images,
    )
    from helpers.sealed import SealedTestSet, lab_book

# Name -> the module that holds it. A module's own name stands for the module itself.
_EXPORTS = {
    "SealedTestSet": "sealed",
    "blanks": "blanks",
    "checks": "checks",
    "compare_histories": "plots",
    "colleagues_model": "memory",
    "create_model_intro": "models",
    "data": "data",
    "data_folder": "data",
    "diagrams": "diagrams",
    "filled": "blanks",
    "hint": "hints",
    "hints": "hints",
    "lab_book": "sealed",
    "leaky_split": "leaks",
    "leaks": "leaks",
    "memory": "memory",
    "models": "models",
    "pictures": "pictures",
    "plot_confidence": "plots",
    "plot_confusion_matrix": "plots",
    "plot_convolution": "diagrams",
    "plot_descent": "diagrams",
    "plot_history": "plots",
    "plot_network": "diagrams",
    "plot_pooling": "diagrams",
    "plot_probabilities": "plots",
    "plot_trials": "plots",
    "plots": "plots",
    "prepare_datasets": "data",
    "sealed": "sealed",
    "show_images": "plots",
    "strange_pictures": "pictures",
    "ways_to_prepare": "pictures",
}

__all__ = [
    "SealedTestSet",
    "blanks",
    "checks",
    "colleagues_model",
    "compare_histories",
    "create_model_intro",
    "data",
    "data_folder",
    "diagrams",
    "filled",
    "hint",
    "hints",
    "lab_book",
    "leaks",
    "leaky_split",
    "memory",
    "models",
    "pictures",
    "plot_confidence",
    "plot_confusion_matrix",
    "plot_convolution",
    "plot_descent",
    "plot_history",
    "plot_network",
    "plot_pooling",
    "plot_probabilities",
    "plot_trials",
    "plots",
    "prepare_datasets",
    "sealed",
    "show_images",
    "strange_pictures",
    "ways_to_prepare",
]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow has two sets of routines for convolution and pooling. On processors without AVX-512 it takes the older one,
# with which a training step of the lesson's networks takes twice as long.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Importing TensorFlow and tracing a network make millions of objects that stay. Python's collector looks at them again
# after every few hundred new ones, which is a seventh of the import's time.
gc.set_threshold(100_000, *gc.get_threshold()[1:])
tracing.trace_once()
quiet.hush_import("tensorflow")
# Advice on speed, in red, that a lesson with several small models can't follow.
quiet.hush_log("tensorflow", "triggered tf.function retracing")
# Where the parts of an exported model went, in red; the lesson lists them itself.
quiet.hush_log("tensorflow", "Assets written to")
# Keras says this at every `fit` on a dataset, though nobody passed it: its own default is what it warns about.
warnings.filterwarnings("ignore", message="`shuffle=True` was passed, but will be ignored")


def __getattr__(name: str) -> object:
    """Load the module that holds `name` when it is first asked for (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'helpers' has no attribute '{name}'. It has: {', '.join(__all__)}")
    module = importlib.import_module(f"helpers.{_EXPORTS[name]}")
    value = module if _EXPORTS[name] == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
