"""The ways a run ends early on purpose; commands print them as one line."""


class UserError(ValueError):
    """A mistake of the user's: the message names the value, what was expected and the likely cause."""


class UsageError(UserError):
    """Settings of the user's that do not go together; the commands end with the exit code of wrong flags."""


class NonFiniteError(ArithmeticError):
    """A loss, a gradient or a logit is infinite or not-a-number; nothing was updated or saved after it."""
