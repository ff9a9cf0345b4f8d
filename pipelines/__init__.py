"""Engines that turn raw data into served models, each found by entry point."""
