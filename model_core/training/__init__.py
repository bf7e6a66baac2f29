"""Training of the three models on (picture, prompt) pairs: data, tokenizers, loops."""
