"""Have Keras trace a training step once, where it does so twice.

Before its first step, Keras writes a training down as a graph. An optimizer that is still without its variables makes
them meanwhile, and as a graph that makes variables can't be used again, Keras begins once more: half of the second or
two that each new model costs. With another backend or under a distribution strategy, Keras itself builds the optimizer
beforehand (`Trainer._symbolic_build`), so this does nothing that it doesn't do elsewhere. What is trained comes out the
same, bit by bit.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import wrapt


def build_optimizers_early(keras: ModuleType) -> None:
    """Have the optimizer of a model built before its training is traced.

    Args:
        keras: The package; its `Model` is changed.
    """
    make = keras.Model.make_train_function

    @functools.wraps(make)
    def make_train_function(self: Any, *args: Any, **options: Any) -> Any:
        optimizer = getattr(self, "optimizer", None)
        # Only models that know their inputs have all their variables by now.
        if optimizer is not None and not optimizer.built and self.built and getattr(self, "inputs", None):
            optimizer.build(self.trainable_variables)
        return make(self, *args, **options)

    keras.Model.make_train_function = make_train_function


def trace_once() -> None:
    """Have this done as soon as somebody imports Keras."""
    wrapt.register_post_import_hook(build_optimizers_early, "keras")
