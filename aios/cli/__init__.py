"""The aios command."""
