"""The pure kernel: events in, events and actions out; no clock, no I/O, no Ray."""
