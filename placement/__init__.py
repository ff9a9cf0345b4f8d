"""Plans for a whole cluster: what starts, where, who yields, and why (pure: no clock, no I/O, no Ray)."""
