"""What every test runs under: no network, one CPU device, and jaxtyping's annotations checked by beartype.

The checks happen in tests only, while JAX traces; in production the annotations cost nothing.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from jaxtyping import install_import_hook

import tests.typechecking  # the hook below looks it up by name

install_import_hook("model_core", f"{tests.typechecking.__name__}.check")  # before anything imports it
