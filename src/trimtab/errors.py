"""The errors that a person can mend. Doors print their text and exit with code 2; anything else is a bug of ours."""


class TrimtabError(Exception):
    """Base of all errors about input: the text states rule, name, value and what to do."""


class ConfigError(TrimtabError):
    """A setting is unknown, ill-typed or out of its range."""


class DataError(TrimtabError):
    """The data cannot be read, or cannot be used as configured."""


class SweepError(TrimtabError):
    """The search space or the study is not usable as asked for."""


class TrackingError(TrimtabError):
    """The MLflow server cannot be reached or refuses."""


class Diverged(TrimtabError):
    """A trial's loss became NaN or infinite; the trial fails, its sweep goes on."""
