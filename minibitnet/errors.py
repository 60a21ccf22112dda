"""The ways a run ends early on purpose; commands print them as one line, and so does a notebook."""


def brief(value, most=60, write=repr):
    """A value for a message, cut where it is long."""
    try:
        text = write(value)
    except ValueError:                           # Python writes no whole number of 5,000 digits
        return f"a number of {value.bit_length():,} bits"
    return text if len(text) <= most else f"{text[:most]}..."


class OneLine(Exception):
    """An error whose message says all: where it was raised in here would not help."""

    def _render_traceback_(self):                # what IPython shows in place of the stack
        return [f"{type(self).__name__}: {' '.join(self.message.split())}"]

    @property
    def message(self):
        """What it says."""
        return str(self)


class UserError(OneLine, ValueError):
    """A mistake of the user's: the message names the value, what was expected and the likely cause."""


class UsageError(UserError):
    """Settings of the user's that do not go together; the commands end with the exit code of wrong flags."""


class FileError(OneLine, OSError):
    """A file cannot be written: errno, and a message that says which and why."""

    @property
    def message(self):
        """What it says, without the number."""
        return self.strerror


class NonFiniteError(OneLine, ArithmeticError):
    """A loss, a gradient or a logit is infinite or not-a-number; nothing was updated or saved after it."""
