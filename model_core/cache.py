"""Where this user's programs keep what they can make or fetch again."""

import os
import sys
from pathlib import Path

from model_core.errors import DalleServeError


def cache_folder() -> Path:
    """The folder for it: in XDG_CACHE_HOME where that is set, else where the system's own programs keep theirs.

    Raises:
      DalleServeError: neither that nor a home is known.
    """
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "dalle-serve"
    try:
        home = Path.home()
    except RuntimeError as error:  # a user who is in no list of users, as in some containers
        raise DalleServeError("This user has no home folder: set HOME, or XDG_CACHE_HOME for what is kept.") from error
    return (home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache") / "dalle-serve"
