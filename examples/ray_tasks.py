"""Plain Ray code, as you would run it by hand: it stays inside the placement group that AIOS gave it."""

import ray

ray.init()


@ray.remote
def where(i: int) -> tuple[int, str]:
    return i * i, ray.get_runtime_context().get_node_id()


squares = ray.get([where.remote(i) for i in range(8)])
print("squares:", [square for square, _ in squares])
print("nodes:", sorted({node[:8] for _, node in squares}))
