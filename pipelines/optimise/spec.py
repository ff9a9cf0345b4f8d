"""What users write for ``kind: optimise``: the passes in their order, each with its parameters and its gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from aios.spec import Count, Strict, WorkloadSpec
from pipelines.roles import check_roles
from pipelines.train.learning import Optimizer, OptimizerSpec, Rate
from pipelines.train.spec import ModelSpec
from pipelines.workdir import check_working_dir

Drop = Annotated[float, Field(ge=0, le=1)]


class PassSpec(Strict):
    """One pass; ``max_drop`` is how much of the score it may lose against the original (default: the workload's)."""

    type: str
    max_drop: Drop | None = None
    name: str = Field(default="", pattern=r"^[a-z0-9]?([-a-z0-9]{0,61}[a-z0-9])?$")


class Learns(PassSpec):
    """A pass that learns on the train part."""

    epochs: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 5
    lr: Rate = 1e-3
    optimizer: Optimizer = OptimizerSpec()
    batch_size: Count = 64


class OnnxPass(PassSpec):
    """The network as ONNX, its graph optimised by ONNX Runtime when it is loaded."""

    type: Literal["onnx"]


class DynamicInt8Pass(PassSpec):
    """Weights of linear layers as int8, activations quantised while it runs; convolutions stay as they are."""

    type: Literal["dynamic_int8"]
    per_channel: bool = False


class StaticInt8Pass(PassSpec):
    """Weights and activations as int8, with ranges that ``rows`` rows of the train part show."""

    type: Literal["static_int8"]
    rows: Count = 256
    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    per_channel: bool = True


class WeightOnlyPass(PassSpec):
    """Weights of linear layers with ``bits`` bits in blocks, computed in fp32."""

    type: Literal["weight_only"]
    bits: Literal[4, 8] = 8
    block: Literal[16, 32, 64, 128] = 32


class QatPass(Learns):
    """Learns with the rounding of int8 in place, then quantises statically."""

    type: Literal["qat"]
    epochs: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 3
    rows: Count = 256


class PrunePass(Learns):
    """Takes the weights of least size away, ``amount`` of them, and learns again with what is left.

    ``structural`` takes whole channels and units out, so that the network is smaller; otherwise weights become zeros.
    """

    type: Literal["prune"]
    amount: Annotated[float, Field(gt=0, lt=1)] = 0.5
    structural: bool = False


class DistilPass(Learns):
    """A smaller network (``student``) learns what the teacher says: ``inputs.teacher``, or the model itself."""

    type: Literal["distil"]
    student: ModelSpec
    epochs: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 20
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.7


AnyPass = Annotated[
    OnnxPass | DynamicInt8Pass | StaticInt8Pass | WeightOnlyPass | QatPass | PrunePass | DistilPass,
    Field(discriminator="type"),
]


class OptimiseSpec(WorkloadSpec):
    """A model version becomes a smaller or faster one, by passes in order.

    A pass that learns or prunes works on the network that the passes before it left, one that quantises makes a
    variant of that network. Each variant is measured on the test part of ``inputs.data``; one that loses more than its
    ``max_drop`` is rejected, and nothing is built on it. Of the others the best by ``prefer`` is registered.
    """

    kind: Literal["optimise"]
    passes: tuple[AnyPass, ...] = Field(min_length=1, max_length=32)
    max_drop: Drop = 0.01
    prefer: Literal["latency", "size"] = "latency"
    working_dir: str | None = Field(default=None, min_length=1)
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0

    @model_validator(mode="after")
    def _roles(self) -> OptimiseSpec:
        wanted = {"model": "model", "data": "dataset"}
        if "teacher" in self.inputs:
            wanted["teacher"] = "model"
            if not any(one.type == "distil" for one in self.passes):
                raise ValueError("inputs.teacher is of use to a pass distil alone: add one, or leave the teacher out")
        check_roles("inputs", self.inputs, wanted)
        check_roles("outputs", self.outputs, {"model": "model"})
        check_working_dir(self.working_dir)
        if self.workers is not None and self.workers.num_workers > 1:
            raise ValueError("optimise runs on one worker: give num_cpus and memory instead of workers")
        names = [self.name_of(i) for i in range(len(self.passes))]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice or "original" in names:
            raise ValueError(f"two variants are called {twice or 'original'!r}: give each pass a name of its own")
        return self

    def name_of(self, i: int) -> str:
        """Return what the variant of a pass is called: its own name, or its type, with its number where it repeats."""
        one = self.passes[i]
        before = sum(other.type == one.type for other in self.passes[:i])
        return one.name or one.type.replace("_", "-") + (f"-{before + 1}" if before else "")

    def drop_of(self, i: int) -> float:
        own = self.passes[i].max_drop
        return self.max_drop if own is None else own
