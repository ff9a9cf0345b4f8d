"""What the control plane shows: frozen types that go over HTTP as JSON and come back the same.

Names are snake_case; times are seconds on the control plane's clock. Fields are only added, with defaults; what a
reader does not know it leaves out. ``schemaVersion`` changes when a field changes its meaning.
"""

from __future__ import annotations

from aios.views.artefacts import (
    AliasList,
    AliasView,
    ArtefactList,
    ArtefactView,
    LineageNode,
    LineageView,
)
from aios.views.cluster import (
    EventList,
    EventView,
    NodeList,
    NodeView,
    PackageView,
    ReservationView,
    RulesView,
    StatusView,
    TenantList,
    TenantView,
    UsageLine,
    UsageView,
)
from aios.views.plans import (
    DryRunView,
    PlanView,
    ShareView,
    Verdict,
)
from aios.views.schema import SCHEMA_VERSION, from_json, to_json
from aios.views.workloads import (
    AttemptView,
    ExplainList,
    ExplainView,
    LogsView,
    Submission,
    WaitView,
    WorkloadList,
    WorkloadView,
)

__all__ = [
    "SCHEMA_VERSION",
    "AliasList",
    "AliasView",
    "ArtefactList",
    "ArtefactView",
    "AttemptView",
    "DryRunView",
    "EventList",
    "EventView",
    "ExplainList",
    "ExplainView",
    "LineageNode",
    "LineageView",
    "LogsView",
    "NodeList",
    "NodeView",
    "PackageView",
    "PlanView",
    "ReservationView",
    "RulesView",
    "ShareView",
    "StatusView",
    "Submission",
    "TenantList",
    "TenantView",
    "UsageLine",
    "UsageView",
    "Verdict",
    "WaitView",
    "WorkloadList",
    "WorkloadView",
    "from_json",
    "to_json",
]
