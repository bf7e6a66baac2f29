"""Every error that `model_core` raises on purpose.

Messages say what was got, what is allowed and what to do next. They are safe to show to a client.
"""


class DalleServeError(Exception):
    """The root of all errors raised on purpose; its first argument is the message."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InvalidValue(DalleServeError, ValueError):
    """An argument is out of range.

    Attributes:
      param: the argument's public name (`temperature`), or None where no single one is to blame.
    """

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message, param)  # all arguments go up, so that the error survives pickling between processes
        self.param = param


class CheckpointError(DalleServeError):
    """A model's files cannot be used."""


class CorruptCheckpoint(CheckpointError):
    """A file is truncated or not in the format its name promises."""


class CheckpointMismatch(CheckpointError):
    """The parameters in a file are not those of the model; names every one."""


class UnsupportedConfig(CheckpointError):
    """A config.json asks for something that is not implemented; names key and value."""


class NotFinite(DalleServeError):
    """A stage computed numbers that are NaN or infinite: nothing is made of them, and it has to be replaced."""


class ModelNotFound(DalleServeError):
    """There is no model of that name here: not shipped, no such folder, not downloaded."""


class EngineFailed(DalleServeError):
    """A step of the sampler's engine failed, or takes too long: it draws no more, and has to be replaced."""
