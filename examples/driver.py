"""A driver: submit a pipeline, wait, and let the exit status tell.

Run it beside a running AIOS (``python examples/driver.py``), in a notebook, or as a Ray job
(``eval "$(aios env)"``, then ``ray job submit --working-dir . -- python examples/driver.py``).
"""

import sys

import aios

iris = (
    aios.Pipeline("iris", tenant="default")
    .stage(
        kind="ingest", source={"sklearn": "iris"}, split={"test": 0.3, "seed": 1}, outputs={"data": "dataset://iris"}
    )
    .stage(
        kind="train",
        inputs={"data": "dataset://iris"},
        outputs={"model": "model://iris"},
        model={"type": "mlp", "hidden": [16]},
        epochs=20,
        batch_size=16,
        lr=0.01,
        workers={"num_workers": 2, "resources_per_worker": {"CPU": 1}},
    )
    .stage(kind="evaluate", inputs={"model": "model://iris", "data": "dataset://iris"}, gates={"accuracy": 0.8})
)

with aios.Client() as client:
    submission = client.submit(iris, rerun=True)
    print("submitted:", ", ".join(workload.id for workload in submission.workloads))
    ended = [one for workload in submission.workloads for one in client.wait(workload.id)]
    for workload in ended:
        print(f"{workload.name}: {workload.status} on {', '.join(workload.actual_nodes)} {workload.metrics or ''}")
sys.exit(0 if all(workload.status == "SUCCEEDED" for workload in ended) else 1)
