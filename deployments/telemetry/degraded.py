"""What this process does without for the moment: by-products that fail, such as the files behind image URLs.

They fail nothing else, so somebody has to be told: readiness says them, a metric counts them, and the log has each
reason once.
"""

import logging

logger = logging.getLogger("ray.serve")

_reasons: dict[str, str] = {}  # "" for what works again


def failed(what: str, why: str, details: str = "") -> None:
    """Notes that something fails.

    Args:
      what: a short name, the same each time.
      why: for everybody to read, so it holds no paths.
      details: for the log.
    """
    if _reasons.get(what) != why:
        logger.error("going on without %s: %s %s", what, why, details)
    _reasons[what] = why


def works(what: str) -> None:
    """Notes that something works, or works again."""
    if _reasons.get(what):
        logger.warning("%s works again", what)
    _reasons[what] = ""


def reasons() -> dict[str, str]:
    """Why each thing fails that was ever noted; "" for what works."""
    return dict(_reasons)


def warnings() -> list[str]:
    """What fails just now, and why."""
    return [f"{what}: {why}" for what, why in _reasons.items() if why]


def forget() -> None:
    """Knows nothing any more, as a new process does."""
    _reasons.clear()
