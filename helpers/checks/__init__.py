"""The checks that visible and hidden tests share.

Every check raises `CheckError` when an answer is wrong, with one message that says what was expected and what was
found, and `NotAttempted` when the answer is still the blank of its starter. Otherwise it returns something of use: the
value in a tidy form, or a report that can be printed.

Checks take values as they are in a student's notebook, or copies of them: an array where there was a tensor, a model
read back from a file, an object that has only the `history` of a training run. They read models through Keras's public
API alone. A value of a wrong type is a wrong answer, told in plain words; it never ends in an error from deep inside a
check.

A test cell may not end with a check that returns a number: nbgrader reads the value of a cell's last line as points.
"""

from __future__ import annotations

from helpers.checks.building import arriving_at, built, convolved, max_pooled, model_so_far, train_briefly
from helpers.checks.cards import card_file, card_is_true, model_card
from helpers.checks.datasets import dataset, dataset_facts
from helpers.checks.evaluation import (
    Evaluation,
    ShuffledTask,
    accuracy_value,
    belong_together,
    class_numbers,
    confusion_matrix,
    counted,
    evaluated,
    heat_map,
    interval_95,
    most_confused_pair,
    recalls,
    shuffled_task,
    surest_mistakes,
)
from helpers.checks.figures import figure, figure_facts, shows_images
from helpers.checks.folders import drawn_folder, drawn_pictures
from helpers.checks.functions import call_each, returned
from helpers.checks.images import arrays_of, course_images, holdout
from helpers.checks.models import (
    compiled,
    expect_history,
    expect_model,
    layer_order,
    output_shapes,
    parameter_count,
    trained,
    weights_changed,
)
from helpers.checks.origins import learned_from_training_images
from helpers.checks.predictions import (
    SAME_PREDICTION,
    Accuracy,
    above_chance,
    most_probable,
    predict,
    predictions_match,
    probabilities,
)
from helpers.checks.saved import FreshProcessError, Reloaded, load_model, reloads, saved_file
from helpers.checks.sharing import answers_of_model, call_on_files, file_answers, seed_of
from helpers.checks.training import (
    SAME_MEASURE,
    cross_entropy,
    curves,
    history_of,
    kept_best,
    learning_setup,
    loss_fell,
    mean_cross_entropy,
    measured,
    one_model_each,
    save_for_test,
    stopped_early,
    validated_on,
)
from helpers.checks.tuning import (
    Challenge,
    augmenting,
    challenge,
    points_for,
    report_of,
    scale,
    standard_error,
    trial_table,
)
from helpers.checks.values import (
    CheckError,
    NotAttempted,
    attempted,
    class_index,
    expect_array,
    expect_number,
    expect_text,
    fail_unless,
    same_values,
)

__all__ = [
    "SAME_MEASURE",
    "SAME_PREDICTION",
    "Accuracy",
    "Challenge",
    "CheckError",
    "Evaluation",
    "FreshProcessError",
    "NotAttempted",
    "Reloaded",
    "ShuffledTask",
    "above_chance",
    "accuracy_value",
    "answers_of_model",
    "arrays_of",
    "arriving_at",
    "attempted",
    "augmenting",
    "belong_together",
    "built",
    "call_each",
    "call_on_files",
    "card_file",
    "card_is_true",
    "challenge",
    "class_index",
    "class_numbers",
    "compiled",
    "confusion_matrix",
    "convolved",
    "counted",
    "course_images",
    "cross_entropy",
    "curves",
    "dataset",
    "dataset_facts",
    "drawn_folder",
    "drawn_pictures",
    "evaluated",
    "expect_array",
    "expect_history",
    "expect_model",
    "expect_number",
    "expect_text",
    "fail_unless",
    "figure",
    "figure_facts",
    "file_answers",
    "heat_map",
    "history_of",
    "holdout",
    "interval_95",
    "kept_best",
    "layer_order",
    "learned_from_training_images",
    "learning_setup",
    "load_model",
    "loss_fell",
    "max_pooled",
    "mean_cross_entropy",
    "measured",
    "model_card",
    "model_so_far",
    "most_confused_pair",
    "most_probable",
    "one_model_each",
    "output_shapes",
    "parameter_count",
    "points_for",
    "predict",
    "predictions_match",
    "probabilities",
    "recalls",
    "reloads",
    "report_of",
    "returned",
    "same_values",
    "save_for_test",
    "saved_file",
    "scale",
    "seed_of",
    "shows_images",
    "shuffled_task",
    "standard_error",
    "stopped_early",
    "surest_mistakes",
    "train_briefly",
    "trained",
    "trial_table",
    "validated_on",
    "weights_changed",
]
