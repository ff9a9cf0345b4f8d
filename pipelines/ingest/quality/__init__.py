"""Quality: rules on rows, and what is done where they fail."""
