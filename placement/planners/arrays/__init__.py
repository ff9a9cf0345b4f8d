"""Nodes as arrays: what is free, where a gang goes, and what is left usable by the expected mix."""
