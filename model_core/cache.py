"""Where this user's programs keep what they can make or fetch again."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder for it: in XDG_CACHE_HOME where that is set, else where the system's own programs keep theirs."""
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "dalle-serve"
    home = Path.home()
    return (home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache") / "dalle-serve"
