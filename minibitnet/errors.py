"""The two ways a run ends early on purpose; commands print them as one line."""


class UserError(ValueError):
    """A mistake of the user's: the message names the value, what was expected and the likely cause."""


class NonFiniteError(ArithmeticError):
    """A loss, a gradient or a logit is infinite or not-a-number; nothing was updated or saved after it."""
