"""Every error that the service raises on purpose, beside those of `model_core.errors`.

DalleServeError
├── InvalidValue
│   ├── MissingParameter      a field that must be there is not
│   ├── UnknownParameter      a field that no endpoint here knows
│   └── ContentRefused        the operator's policy refuses the prompt or an image
├── InvalidKey                a key is needed, and none or a wrong one was sent
├── AccessDenied              another machine, where there are no keys and only this one is answered
├── Overloaded                too much is waiting already; come back in `retry_after_s`
├── DeadlineExceeded          the request took longer than it may
├── ShuttingDown              the service is being stopped, and lets nobody in
├── StageUnavailable          a stage is down, or died again and again under this request
├── ServiceStartError         the service did not come up (raised where it is started, never by a request)
└── RequestFailed             the service refused, or could not be reached (raised by `client.py`, outside of it)

Each survives pickling, for Python callers get them through a Serve handle. Messages are safe to show to a client.
"""

from model_core.errors import DalleServeError, InvalidValue


class MissingParameter(InvalidValue):
    """A field that must be there is not."""


class UnknownParameter(InvalidValue):
    """A field that no endpoint here knows."""


class ContentRefused(InvalidValue):
    """The operator's policy refuses the prompt or an image."""


class InvalidKey(DalleServeError):
    """A key is needed, and none or a wrong one was sent."""


class AccessDenied(DalleServeError):
    """The caller is not let in, and no key would help."""


class Overloaded(DalleServeError):
    """Too much is waiting already.

    Attributes:
      retry_after_s: whole seconds after which a place should be free.
    """

    def __init__(self, message: str, retry_after_s: int):
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class DeadlineExceeded(DalleServeError):
    """The request took longer than it may, and was stopped."""


class ShuttingDown(DalleServeError):
    """The service is being stopped: who is in is served, nobody else is let in."""


class StageUnavailable(DalleServeError):
    """A stage is down, or died again and again under this request."""


class ServiceStartError(DalleServeError):
    """The service did not come up."""


class RequestFailed(DalleServeError):
    """The service refused a request, or could not be reached."""
