"""Fetches packages of pictures and words with the npm client, and reads files out of them.

Needs npm and the network once for each package; afterwards its archive comes from the cache folder. Nothing of a
package is unpacked or run.
"""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from model_core.cache import cache_folder
from model_core.errors import DalleServeError

CACHE = cache_folder() / "packages"
FETCH_TIMEOUT_S = 300


class PackageError(DalleServeError):
    """A package of pictures or words cannot be fetched or read."""


def fetch(package: str, version: str, cache: Path) -> Path:
    """Returns the package's archive from the cache folder, fetched there with the npm client if it is missing.

    Raises:
      PackageError: npm is missing, fails, or takes too long.
    """
    archive = cache / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if archive.is_file():
        return archive
    if not (npm := shutil.which("npm")):
        raise PackageError(f"npm is needed to fetch {package}@{version}, and is not installed. Install Node.js.")
    partial = cache / f"partial-{archive.stem}"
    partial.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", f"{package}@{version}", "--pack-destination", str(partial)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
        (partial / archive.name).replace(archive)
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"npm did not fetch {package}@{version} within {FETCH_TIMEOUT_S} s.") from error
    except subprocess.CalledProcessError as error:
        raise PackageError(f"npm could not fetch {package}@{version}: {error.stderr.strip()[-500:]}") from error
    except OSError as error:
        raise PackageError(f"npm did not leave {archive.name} in {partial}: {error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return archive


def read_json(archive: Path, name: str) -> Any:
    """Reads one JSON file of a package's archive, without unpacking the rest.

    Raises:
      PackageError: the archive is broken, or has no such file.
    """
    try:
        with tarfile.open(archive) as package:
            member = package.extractfile(f"package/{name}")
            return json.load(member) if member else None
    except (tarfile.TarError, EOFError, OSError, KeyError, ValueError) as error:
        raise PackageError(
            f"{name} in {archive} cannot be read ({error}): delete the archive, then try again."
        ) from error
