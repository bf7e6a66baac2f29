"""Published PyTorch files → a model's folder that the service loads."""
