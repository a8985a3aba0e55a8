"""The errors that a user of the autograder sees."""


class CourseError(Exception):
    """Bad input or a missing part, told in one message.

    The message names the file or the exercise, what was found, what was expected and what to do next. The command line
    prints it without a traceback unless `--verbose` is given.
    """
