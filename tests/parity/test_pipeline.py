"""The whole flow against dalle-mini's notebook: codes, images, scores and their order."""

import numpy as np

from model_core.pipeline import Pipeline
from tests.parity.comparisons import compare_pipeline


def test_the_notebook_flow_is_the_reference():
    assert [comparison for comparison in compare_pipeline() if not comparison.passes] == []


def test_the_pipeline_class_computes_what_the_notebook_does(fixtures):
    """The recorded noise cannot be fed to the pipeline; coldest sampling is greedy, whose images are recorded."""
    pipeline = Pipeline.from_parts(sampler=fixtures / "dalle-tiny", codec=fixtures / "vqgan-tiny")
    with np.load(fixtures / "pipeline" / "goldens.npz") as goldens:
        for i, prompt in enumerate(goldens["prompts"].tolist()):
            (drawn,) = pipeline.generate(prompt, seed=0, guidance_scale=10.0, temperature=1e-6)
            np.testing.assert_array_equal(drawn.codes, goldens["codes_greedy_cond10"][i])
            assert np.abs(drawn.image.astype(int) - goldens["images_greedy_cond10"][i]).max() <= 1
