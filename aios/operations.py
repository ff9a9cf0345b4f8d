"""What the SDK does to running work, tenants and nodes by hand."""

from __future__ import annotations

from aios.connection import Connection
from aios.sources import checked
from aios.views import NodeList, NodeView, TenantList, TenantView, WorkloadList, WorkloadView, from_json


class Operations:
    """The part of the client with which people operate a cluster."""

    _wire: Connection

    def preempt(self, ref: str, by: str = "") -> tuple[WorkloadView, ...]:
        """Have running work save its progress and queue again."""
        return self._order(f"/workloads/{checked(ref)}/preempt", by)

    def suspend(self, ref: str, by: str = "") -> tuple[WorkloadView, ...]:
        """Have work save its progress and wait until it is resumed."""
        return self._order(f"/workloads/{checked(ref)}/suspend", by)

    def resume(self, ref: str, by: str = "") -> tuple[WorkloadView, ...]:
        """Let suspended work wait for its turn again."""
        return self._order(f"/workloads/{checked(ref)}/resume", by)

    def _order(self, path: str, by: str) -> tuple[WorkloadView, ...]:
        return from_json(WorkloadList, self._wire.send("POST", path, params={"by": by})).workloads

    def drain(self, node: str, grace_s: float | None = None, by: str = "") -> NodeView:
        """Take a node, by name or id, out of use; its work saves its progress (``grace_s``) and moves."""
        params = {"by": by} if grace_s is None else {"by": by, "grace_s": str(grace_s)}
        return self._node(f"/nodes/{checked(node)}/drain", params)

    def undrain(self, node: str, by: str = "") -> NodeView:
        """Take a node that was drained by hand back into use."""
        return self._node(f"/nodes/{checked(node)}/resume", {"by": by})

    def release(self, node: str, by: str = "") -> NodeView | None:
        """Trust a node again before its quarantine is over; None where the node itself is gone."""
        found = self._wire.send("POST", f"/nodes/{checked(node)}/release", params={"by": by})
        return next(iter(from_json(NodeList, found).nodes), None)

    def _node(self, path: str, params: dict[str, str]) -> NodeView:
        return from_json(NodeList, self._wire.send("POST", path, params=params)).nodes[0]

    def pause_tenant(self, name: str, how: str = "", by: str = "") -> TenantView:
        """Start nothing of a tenant; what runs goes on, yields (``drain``) or is ended at once (``now``)."""
        return self._tenant(f"/tenants/{checked(name)}/pause", {"how": how, "by": by})

    def resume_tenant(self, name: str, by: str = "") -> TenantView:
        """Let a tenant's work start again."""
        return self._tenant(f"/tenants/{checked(name)}/resume", {"by": by})

    def _tenant(self, path: str, params: dict[str, str]) -> TenantView:
        return from_json(TenantList, self._wire.send("POST", path, params=params)).tenants[0]
