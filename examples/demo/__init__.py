"""Two teams and an urgent job share one cluster: from raw data to served models."""
