"""Ray Serve, imported once with its warnings ignored, so that the tests may import it with warnings as errors."""

import warnings

from pydantic import PydanticDeprecatedSince20

with warnings.catch_warnings():
    warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use a keyword that pydantic gave up
    import ray.serve  # noqa: F401 - for what its import does
