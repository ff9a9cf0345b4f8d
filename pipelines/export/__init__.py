"""Export: a model version as one signed folder that runs where only ONNX Runtime and numpy are."""
