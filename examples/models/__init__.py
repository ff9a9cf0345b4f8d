"""Networks that examples train by factory."""
