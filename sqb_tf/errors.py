"""The one exception that a command-line tool turns into a clear line and exit code 2."""


class InputError(ValueError):
    """Bad input from the user: a file, value or flag.

    The message names the culprit, says what was expected and what to do. Tools print it without a
    traceback; library callers may catch it as the `ValueError` that it is.
    """
