"""Tar files of weights that lie on no hub: fetched once, checked, and unpacked into a folder of the cache.

Only the files that are asked for are written, under the names that are asked for, whatever else an archive holds.
"""

import hashlib
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from model_core.cache import cache_folder
from model_core.errors import CorruptCheckpoint, ModelNotFound

_TIMEOUT_S = 60.0  # without a byte
_PIECE = 2**20


def fetch(
    name: str, url: str, md5: str, members: Sequence[str], on_bytes: Callable[[int, int], None] | None = None
) -> Path:
    """Gives the folder with the archive's files, which is there already or is made now.

    A download that was broken off goes on where it stopped.

    Args:
      name: the folder's name.
      md5: of the whole archive.
      members: the files to unpack, named without the folder in the archive that they lie in.
      on_bytes: called with (bytes fetched so far, bytes to fetch) now and then.

    Raises:
      ModelNotFound: it cannot be had.
      CorruptCheckpoint: it is another archive, or lacks a file.
    """
    folder = cache_folder() / "models" / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = folder.with_name(f"{name}.unfinished")
    _download(url, archive, on_bytes or (lambda done, total: None))
    if (found := _md5(archive)) != md5:
        archive.unlink()
        raise CorruptCheckpoint(f"{url} has the MD5 sum {found}, not {md5}: it is another file. It was removed.")
    unpacked = folder.with_name(f".{name}.unpacking")
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        _unpack(archive, members, unpacked)
        unpacked.rename(folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()
    return folder


def _download(url: str, path: Path, on_bytes: Callable[[int, int], None]) -> None:
    """Appends to `path` what it lacks."""
    import httpx  # as heavy as needed seldom

    begun = path.stat().st_size if path.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_S) as reply:
            if reply.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # all of it is there
                return
            reply.raise_for_status()
            is_rest = reply.status_code == httpx.codes.PARTIAL_CONTENT
            done = begun if is_rest else 0
            total = done + int(reply.headers.get("content-length", 0))
            with path.open("ab" if is_rest else "wb") as file:
                for piece in reply.iter_raw():
                    file.write(piece)
                    done += len(piece)
                    on_bytes(done, total)
    except (httpx.HTTPError, OSError) as err:
        raise ModelNotFound(f"{url} could not be downloaded: {err}. What came is kept; try again.") from err


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpack(archive: Path, members: Sequence[str], folder: Path) -> None:
    wanted = {PurePosixPath(name).parts: folder / name for name in members}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                target = next((wanted.pop(name) for name in list(wanted) if parts[-len(name) :] == name), None)
                source = tar.extractfile(member) if target and member.isfile() else None
                if target and source:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with source, target.open("wb") as file:
                        shutil.copyfileobj(source, file, _PIECE)
    except (tarfile.TarError, EOFError, OSError) as err:
        raise CorruptCheckpoint(f"{archive} cannot be unpacked: {err}.") from err
    if wanted:
        raise CorruptCheckpoint(f"{archive} lacks {', '.join('/'.join(name) for name in wanted)}.")
