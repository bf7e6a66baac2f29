"""A folder's config.json says which network it holds; to find that out takes no JAX."""

import json
import subprocess
import sys

import pytest

from model_core import codecs, families, scorers
from model_core.codecs import vqgan
from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.families.dalle_bart import family as dalle_bart
from model_core.scorers import clip


def test_a_folder_says_which_network_it_holds(fixtures):
    assert families.of_folder(fixtures / "dalle-tiny") is dalle_bart
    assert codecs.of_folder(fixtures / "vqgan-tiny") is vqgan  # whose config.json names no type, as the published one
    assert scorers.of_folder(fixtures / "clip-tiny") is clip
    assert families.read_config(fixtures / "dalle-tiny").grid == Grid(8, 8, 64)


@pytest.mark.parametrize("package", [families, codecs, scorers])
def test_an_unknown_type_is_refused_with_those_that_are_known(tmp_path, package):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt5"}))
    for look in (package.of_folder, package.read_config, package.load):
        with pytest.raises(UnsupportedConfig, match=r"model_type is 'gpt5'; here only (dallebart|vqgan|clip)"):
            look(tmp_path)


def test_a_model_is_found_and_its_sizes_are_read_without_jax():
    code = (
        "import sys; from model_core import bundles, codecs, families, scorers;"
        "found = bundles.resolve('emoji'); families.read_config(found.sampler); codecs.read_config(found.codec);"
        "scorers.read_config(found.scorer); print({'jax', 'flax'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "set()\n"
