"""The service of dalle-serve: one Ray Serve deployment a stage, composed by a gateway. Does no array math."""
