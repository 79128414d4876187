"""The ways in which a preflight ends early; the command line turns them into exit codes."""


class BadInputError(Exception):
    """What the user gave cannot be used: an argument, a stack file, a setting. Exit code 2.

    The message has four parts: what is wrong, the value, what is allowed, what to change.
    """


class ProgramFailedError(Exception):
    """The program did not run to its end. Exit code 3."""


class NoAnswerError(Exception):
    """AWS answered nothing: no credentials, none that it takes, no network, a region that is off. Exit code 5."""
