"""What the routes need of the gateway; tests put something simpler in its place."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from deployments.config import AppConfig
from deployments.gateway.image_store import ImageStore
from deployments.gateway.replies import Event
from deployments.requests.schemas import DrawingRequest, Upload


class Service(Protocol):
    """Draws, and describes what it draws with.

    Attributes:
      config: of the whole service.
      images: the files behind URLs; None where URLs are not offered.
    """

    config: AppConfig
    images: ImageStore | None

    async def draw(self, request: DrawingRequest, upload: Upload | None = None) -> dict[str, Any]:
        """Draws images."""
        ...

    def stream(self, request: DrawingRequest, upload: Upload | None = None) -> AsyncGenerator[Event, None]:
        """Draws images, and shows them while it does."""
        ...

    def list_models(self) -> list[dict[str, Any]]:
        """Describes every model that is served."""
        ...

    def describe_model(self, name: str) -> dict[str, Any]:
        """Describes one model."""
        ...

    async def readiness(self) -> dict[str, Any]:
        """Says how far the stages of the default model are."""
        ...
