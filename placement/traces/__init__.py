"""Traces of jobs: readers of published ones, and generators after published distributions."""
