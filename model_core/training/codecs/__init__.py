"""Training of codecs of every kind: one step for all, with a module for what each kind does in its own way."""
