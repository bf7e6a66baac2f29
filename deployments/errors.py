"""Every error that the service raises on purpose, beside those of `model_core.errors`.

Each survives pickling, for Python callers get them through a Serve handle. Messages are safe to show to a client.
"""

from typing import Any

from model_core.errors import DalleServeError, InvalidValue, ModelNotFound


class MissingParameter(InvalidValue):
    """A field that must be there is not."""


class UnknownParameter(InvalidValue):
    """A field that no endpoint here knows."""


class ContentRefused(InvalidValue):
    """The operator's policy refuses the prompt or an image.

    Attributes:
      stage: `input`, the prompt was refused; `output`, what was drawn.
    """

    def __init__(self, message: str, param: str | None = None, stage: str = "input"):
        super().__init__(message, param)
        self.args = (message, param, stage)
        self.stage = stage

    @property
    def moderation_details(self) -> dict[str, Any]:
        """The same as OpenAI's clients read it; the category is the setting that refused."""
        category = "prompt_policy" if self.stage == "input" else "refused_concepts"
        return {"categories": [category], "moderation_stage": self.stage}


class InvalidKey(DalleServeError):
    """A key is needed, and none or a wrong one was sent."""


class AccessDenied(DalleServeError):
    """Another machine, where there are no keys and only this one is answered."""


class Overloaded(DalleServeError):
    """Too much is waiting already.

    Attributes:
      retry_after_s: whole seconds after which a place should be free.
    """

    def __init__(self, message: str, retry_after_s: int):
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s


class NoRoomForBatch(DalleServeError):
    """A replica has as much batch work as it accepts; never seen by a client, for the gateway asks again."""


class DeadlineExceeded(DalleServeError):
    """The request took longer than it may, and was stopped."""


class ShuttingDown(DalleServeError):
    """The service is being stopped: who is in is served, nobody else is let in."""


class StageUnavailable(DalleServeError):
    """A stage is down, or died again and again under this request."""


class InvalidSettings(DalleServeError):
    """A Serve file has a setting that does not exist, or a value that it may not have."""


class StageFailed(DalleServeError):
    """A stage could not do its part of the request, which is not the caller's fault."""


class UrlsUnavailable(DalleServeError):
    """Nothing but image URLs is asked for, and their files cannot be kept."""


class NotFound(DalleServeError):
    """There is no such file or batch, or it is another caller's."""


class BatchesUnavailable(DalleServeError):
    """Files and batches cannot be had: their database does not answer."""


class ServiceStartError(DalleServeError):
    """The service did not come up; raised where it is started, never by a request."""


class RequestFailed(DalleServeError):
    """The service refused a request, or could not be reached; raised by its clients."""


def no_scorer(model: str) -> ModelNotFound:
    """For a model that is to be ranked and has nothing to rank by: says how to give it something."""
    return ModelNotFound(
        f"{model} has no scorer. Name one (clip_scorer: {{source: openai/clip-vit-base-patch32}}), or serve it without "
        "(clip_scorer: null)."
    )
