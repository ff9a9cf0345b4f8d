"""The exact planner: one CP-SAT programme for the whole cluster."""
