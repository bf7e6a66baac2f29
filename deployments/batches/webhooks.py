"""Telling others of a batch's end: a signed POST, as OpenAI and the Standard Webhooks specification have it.

Only to origins that the operator allows, without redirects, and with the same `webhook-id` each time, by which a
receiver knows what it has heard already.
"""

import base64
import binascii
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from deployments.batches.queue import Webhook
from deployments.config import BatchesConfig
from deployments.host import async_http_client
from model_core.errors import DalleServeError, InvalidValue

logger = logging.getLogger("ray.serve")

TIMEOUT_S = 10.0
SECRET_PREFIX = "whsec_"
MIN_SECRET_BYTES = 24
MAX_URL_CHARS = 2000


class Webhooks:
    """The way to those who are told.

    Raises:
      DalleServeError: the secret cannot be read, or is none.
    """

    def __init__(self, config: BatchesConfig, clock: Callable[[], float] = time.time):
        self._origins = [origin.lower().rstrip("/") for origin in config.webhook_origins]
        self._secret = _read_secret(config.webhook_secret_file) if config.webhook_secret_file else b""
        self._clock = clock

    def check(self, url: str) -> str:
        """Gives an address back that may be told.

        Raises:
          InvalidValue: it may not; says which may.
        """
        if not self._origins:
            raise InvalidValue("webhook_url: nobody is told of batches here (batches.webhook_origins).", "webhook_url")
        try:
            parts = urlsplit(url)
            origin = f"{parts.scheme}://{parts.netloc}".lower()
        except ValueError:
            origin = ""
        if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or origin not in self._origins:
            raise InvalidValue(f"webhook_url must begin with one of: {', '.join(self._origins)}.", "webhook_url")
        return url

    async def send(self, webhook: Webhook) -> bool:
        """Tells somebody; says whether they have heard it. What goes wrong is logged."""
        body = event(webhook)
        try:
            self.check(webhook.url)  # the operator may have changed his mind
            async with async_http_client(webhook.url, timeout=TIMEOUT_S, follow_redirects=False) as client:
                reply = await client.post(webhook.url, content=body, headers=self._headers(webhook, body))
        except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError, InvalidValue) as error:
            logger.warning("%s was not told of %s: %s", webhook.url, webhook.batch_id, error or type(error).__name__)
            return False
        if not reply.is_success:
            logger.warning("%s was not told of %s: it answered %d", webhook.url, webhook.batch_id, reply.status_code)
        return reply.is_success

    def _headers(self, webhook: Webhook, body: bytes) -> dict[str, str]:
        name, now = _event_id(webhook), str(int(self._clock()))
        signed = hmac.new(self._secret, f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
        return {
            "content-type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": now,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }


def event(webhook: Webhook) -> bytes:
    """What is told, as JSON."""
    about = {"id": _event_id(webhook), "object": "event", "created_at": webhook.ended_at}
    return json.dumps(about | {"type": f"batch.{webhook.status}", "data": {"id": webhook.batch_id}}).encode()


def _event_id(webhook: Webhook) -> str:
    return f"evt_{webhook.batch_id.removeprefix('batch_')}"


def _read_secret(file: str) -> bytes:
    """The bytes behind `whsec_…`; a message never shows them."""
    path = Path(file).expanduser()
    try:
        secret = path.read_text(encoding="ascii").strip()
        value = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (OSError, UnicodeError, binascii.Error) as error:
        raise DalleServeError(f"{path}, the secret of webhooks, cannot be read ({type(error).__name__}).") from None
    if not secret.startswith(SECRET_PREFIX) or len(value) < MIN_SECRET_BYTES:
        raise DalleServeError(
            f"{path} must hold {SECRET_PREFIX} and the base64 of at least {MIN_SECRET_BYTES} random bytes, such as: "
            f'echo "{SECRET_PREFIX}$(head -c 32 /dev/urandom | base64 -w0)".'
        )
    return value
