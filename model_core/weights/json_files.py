"""Reads the JSON files of a model's folder, with errors that say what is wrong with which file."""

import json
from pathlib import Path
from typing import Any

from model_core.errors import CorruptCheckpoint, ModelNotFound, UnsupportedConfig

LARGEST = 2**31 - 1


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Reads a JSON object from a model's folder.

    Raises:
      ModelNotFound: there is no such folder.
      CorruptCheckpoint: the file is missing, not UTF-8, not JSON, or not an object.
    """
    if not folder.is_dir():
        raise ModelNotFound(f"There is no folder {folder}.")
    path = folder / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise CorruptCheckpoint(f"{folder} holds no {name}. Download or copy it again.") from err
    except UnicodeDecodeError as err:
        raise CorruptCheckpoint(f"{path} is not UTF-8 text ({err}). Download or copy it again.") from err
    except OSError as err:
        raise CorruptCheckpoint(f"{path} cannot be read ({err}).") from err
    except (ValueError, RecursionError) as err:  # also a number of more digits than Python reads
        raise CorruptCheckpoint(f"{path} is not JSON ({err}). Download or copy it again.") from err
    if not isinstance(content, dict):
        raise CorruptCheckpoint(f"{path} holds a JSON {type(content).__name__}; an object is expected.")
    return content


def require_integers(config: str, values: dict[str, Any], lowest: int = 1) -> None:
    """Checks values that a configuration gives by name.

    Raises:
      UnsupportedConfig: one is no integer from `lowest` to `LARGEST`; names it, and says what is allowed.
    """
    for name, value in values.items():
        if type(value) is not int or not lowest <= value <= LARGEST:
            raise UnsupportedConfig(
                f"{config}: {name} is {value!r:.100}; it must be an integer from {lowest} to {LARGEST}."
            )


def require_numbers(config: str, values: dict[str, Any], above: float = 0) -> None:
    """The same for numbers above `above` that a float32 can hold."""
    for name, value in values.items():
        if type(value) not in (int, float) or not above < value <= 3e38:
            raise UnsupportedConfig(
                f"{config}: {name} is {value!r:.100}; it must be a number above {above:g}, and finite."
            )
