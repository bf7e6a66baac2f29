"""What a model does on this machine: how fast each stage is, and how fast it could be."""
