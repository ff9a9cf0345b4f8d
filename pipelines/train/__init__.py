"""Train: from a dataset version to a model version, on a gang."""
