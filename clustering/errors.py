"""The one exception for everything that the caller can put right."""


class BadInput(ValueError):
    """Input, a file or an argument cannot be used as it is.

    The message is complete: what was found, where, and what to do about it. The command line prints it
    alone, without a traceback, and exits with code 2.
    """
