"""The ways a run ends early on purpose; commands print them as one line, and so does a notebook."""


class OneLine(Exception):
    """An error whose message says all: where it was raised in here would not help."""

    def _render_traceback_(self):                # what IPython shows in place of the stack
        return [f"{type(self).__name__}: {' '.join(str(self).split())}"]


class UserError(OneLine, ValueError):
    """A mistake of the user's: the message names the value, what was expected and the likely cause."""


class UsageError(UserError):
    """Settings of the user's that do not go together; the commands end with the exit code of wrong flags."""


class NonFiniteError(OneLine, ArithmeticError):
    """A loss, a gradient or a logit is infinite or not-a-number; nothing was updated or saved after it."""
