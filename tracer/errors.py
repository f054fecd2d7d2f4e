"""The two kinds of error: the type says what happens next."""


class TracerError(Exception):
    """An error with one line for the user; never shown as a traceback."""


class PermanentError(TracerError):
    """Trying again cannot help. The text ends with the remedy; exit status 3."""


class UsageError(TracerError):
    """The command line, or an environment variable standing for it, is wrong; exit status 2."""


class TemporaryError(TracerError):
    """Trying again later may help.

    Attributes:
        delay_seconds: how long to wait before the next try, before jitter.
    """

    def __init__(self, message: str, *, delay_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds
