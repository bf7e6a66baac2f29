"""What a service needs of this machine beside its packages: folders and files that can be written, and shared memory.

Each function gives what is wrong, with a remedy, and "" where nothing is; `writing` raises it.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from model_core.cache import cache_folder
from model_core.errors import DalleServeError

SHARED_MEMORY_BYTES = 0.2e9
SOCKET_CHARS = 103 if sys.platform == "darwin" else 107  # of a path, at most
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def ray_folder() -> Path:
    """Where Ray keeps its sessions, as it finds it itself."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"


def session_problem() -> str:
    """Why Ray can write no logs and sockets."""
    if len(f"{ray_folder()}/session_2026-11-30_07-05-38_355344_1234567/sockets/plasma_store") > SOCKET_CHARS:
        return (
            f"{ray_folder()} is too long for sockets, whose paths have {SOCKET_CHARS} bytes: set RAY_TMPDIR to another."
        )
    reason = unwritable(ray_folder())
    return f"{ray_folder()}, Ray's logs and sockets, {reason}: set RAY_TMPDIR to another folder." if reason else ""


def cache_problem() -> str:
    """Why nothing can be kept of what is compiled, nor pictures behind URLs."""
    try:
        folder = cache_folder()
    except DalleServeError as error:
        return str(error)
    reason = unwritable(folder)
    return (
        f"{folder}, for compiled programs and pictures behind URLs, {reason}: set XDG_CACHE_HOME to another folder."
        if reason
        else ""
    )


def shared_memory_problem(folder: Path = Path("/dev/shm")) -> str:
    """Why Ray moves arrays between processes through files, which is slower; containers get 64 MB unless told."""
    advice = "Ray uses files in its place, which is slower; in a container: docker run --shm-size=1g."
    if not folder.is_dir():  # on macOS
        return ""
    if reason := unwritable(folder):
        return f"{folder}, shared memory, {reason}: {advice}"
    free = shutil.disk_usage(folder).free
    return f"{folder}, shared memory, has only {free / 1e6:.0f} MB free: {advice}" if free < SHARED_MEMORY_BYTES else ""


def token_problem() -> str:
    """Why Ray's token can be neither read nor written, with a remedy; "" where it can, or none is asked for."""
    if os.environ.get("RAY_AUTH_MODE") != "token" or os.environ.get(TOKEN_VARIABLE):
        return ""
    if named := os.environ.get(TOKEN_FILE_VARIABLE):
        reason = _unreadable(Path(named)) or ("" if Path(named).read_text().strip() else "is empty")
        return f"{named}, Ray's token, {reason}: write one there, or unset {TOKEN_FILE_VARIABLE}." if reason else ""
    try:
        file = Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        return f"This user has no home folder for Ray's token: set HOME, or {TOKEN_FILE_VARIABLE} to a file with one."
    reason = _unreadable(file) if file.is_file() else unwritable(file.parent)
    if not reason:
        return ""
    return f"{file}, Ray's token, {reason}: set HOME, or {TOKEN_FILE_VARIABLE} to a file with a token."


def unwritable(folder: Path) -> str:
    """Why no file can be written in `folder`, such as "cannot be written (No space left)"; "" where one can.

    Tries it, and removes what it made for that.
    """
    made: list[Path] = []
    try:
        for part in reversed([folder, *folder.parents]):
            if not part.exists():
                part.mkdir()
                made.append(part)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    finally:
        for part in reversed(made):
            with contextlib.suppress(OSError):
                part.rmdir()
    return ""


def _unreadable(file: Path) -> str:
    try:
        file.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """For what a command writes into the folder that `--out` names.

    Raises:
      DalleServeError: something in the block could not be written.
    """
    try:
        yield
    except OSError as error:
        raise DalleServeError(f"{folder} cannot be written ({error.strerror}): choose another, --out.") from error
