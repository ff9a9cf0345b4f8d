"""Plain Ray code: count the ink in every scan, on the nodes that the plan gave."""

import ray
from sklearn.datasets import load_digits

ray.init()


@ray.remote(num_cpus=1, num_gpus=1)
def ink(part: int, parts: int) -> tuple[str, float]:
    images = load_digits().images[part::parts]
    return ray.get_runtime_context().get_node_id(), float(images.sum())


counts = ray.get([ink.remote(part, 2) for part in range(2)])
total, nodes = sum(part for _, part in counts), {node for node, _ in counts}
print(f"ink in all scans: {total:.0f}, counted on {len(nodes)} nodes")
