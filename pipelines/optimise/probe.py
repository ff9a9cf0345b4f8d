"""Times models side by side in a process of its own that has ONNX Runtime and numpy (and PyTorch for a PyTorch model).

    python -m pipelines.optimise.probe ORDER.json

The order names models, rows and rounds; the answer is JSON on stdout. Models take turns in short rounds, so that what
else happens on the machine happens to all of them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_CALLS = 3
Call = Callable[[npt.NDArray[Any]], object]


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows = np.load(order["rows"])
    answer = peak(order["models"][0], rows) if order["what"] == "memory" else timed(order, rows)
    print("\n" + json.dumps(answer))


def timed(order: dict[str, Any], rows: npt.NDArray[Any]) -> dict[str, Any]:
    """Return, by model and batch size, the microseconds of each call."""
    calls = {one["name"]: opened(one) for one in order["models"]}
    sizes = {str(size): _of_size(rows, size) for size in order["batches"]}
    found: dict[str, dict[str, list[float]]] = {name: {size: [] for size in sizes} for name in calls}
    for call in calls.values():  # warm
        for batch in sizes.values():
            call(batch)
    for _ in range(order["rounds"]):
        for name, call in calls.items():
            for size, batch in sizes.items():
                ends_s = time.perf_counter() + order["round_s"] / len(sizes)
                times = found[name][size]
                call(batch)  # the first call after another model's finds cold caches
                least = len(times) + LEAST_CALLS  # however slow the machine is
                while (begun_s := time.perf_counter()) < ends_s or len(times) < least:
                    call(batch)
                    times.append((time.perf_counter() - begun_s) * 1e6)
    return {name: {size: _summary(times, int(size)) for size, times in by.items()} for name, by in found.items()}


def peak(model: dict[str, Any], rows: npt.NDArray[Any]) -> dict[str, Any]:
    """Return by how many bytes this process grew for one model, loaded and asked with 32 rows."""
    _imports(model)
    before = _resident()
    call = opened(model)
    for _ in range(10):
        call(_of_size(rows, 32))
    return {"memory_bytes": max(0, _resident() - before)}


def opened(model: dict[str, Any]) -> Call:
    """Return what answers rows: an ONNX file in ONNX Runtime, or a version's folder in PyTorch, on one thread."""
    if model["kind"] == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model["path"], options, providers=["CPUExecutionProvider"])
        form = model["form"]
        shape = form["shape"] or ()

        def run(rows: npt.NDArray[Any]) -> object:
            given = rows.astype(form["dtype"], copy=False)
            given = given.reshape(len(rows), *shape) if shape else given
            return session.run([form["output"]], {form["input"]: given})

        return run
    import torch

    from pipelines.train.network import load

    torch.set_num_threads(1)
    network, _ = load(Path(model["path"]))

    def forward(rows: npt.NDArray[Any]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(rows))

    return forward


def _imports(model: dict[str, Any]) -> None:
    if model["kind"] == "onnx":
        import onnxruntime  # noqa: F401
    else:
        import pipelines.train.network  # noqa: F401


def _resident() -> int:
    """Return the bytes of this process that are in memory now; where the system does not say, at most so far."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _of_size(rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    return np.ascontiguousarray(np.resize(rows, (size, rows.shape[1])))


def _summary(times: list[float], size: int) -> dict[str, float]:
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1), "calls": len(times),
            "rows_per_s": round(size * 1e6 / float(p50), 1)}  # fmt: skip


if __name__ == "__main__":
    main()
