"""The stages as deployments. Models are imported when a replica starts, not with these modules."""
