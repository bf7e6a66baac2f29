"""Families whose sampler is a Llama: Janus and LlamaGen; and T5, which reads texts for LlamaGen.

`blocks` and `step` are what the two samplers share. Each has a folder of its own, with its `config` and its `family`.
"""
