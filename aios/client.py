"""The Python SDK: what the ``aios`` command does, from a notebook, a driver script or a job."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from aios.asked import AdviceView, WhatIfView
from aios.catalogue import Catalogue
from aios.connection import RETRY_S, Connection
from aios.documents import Document
from aios.errors import AiosError, MissingPackage, NotFinished, NotFound
from aios.operations import Operations
from aios.packages import Package, pack
from aios.sources import Documents, Source, checked, documents_of, located, text_of, with_packages
from aios.views import (
    ArtefactList,
    ArtefactView,
    DryRunView,
    EventList,
    EventView,
    ExplainList,
    ExplainView,
    LogsView,
    NodeList,
    NodeView,
    PackageView,
    PlanView,
    RulesView,
    StatusView,
    Submission,
    TenantList,
    TenantView,
    UsageView,
    WaitView,
    WorkloadList,
    WorkloadView,
    from_json,
)

if TYPE_CHECKING:
    import httpx

POLL_S = 20.0
_RULES = ("policy", "reservation")
_T = TypeVar("_T")


class Client(Operations):
    """A connection to a control plane.

    Parameters
    ----------
    api_url : str, optional
        Where it is; by default ``AIOS_ADDRESS``, or the cluster that ``aios up`` started from this home.
    token : str, optional
        By default ``AIOS_TOKEN``, or ``api_token`` in ``AIOS_HOME``.
    timeout : float
        Seconds for one request.
    retry_s : float
        How long to try again while the control plane does not answer; it may be restarting.
    transport : httpx.BaseTransport, optional
        Another way to send requests.

    Notes
    -----
    All errors are those of ``aios.errors``. A submission carries an idempotency key, so that one that is sent again
    after a lost answer is the same submission.
    """

    def __init__(
        self,
        api_url: str | None = None,
        token: str | None = None,
        timeout: float = 40.0,
        retry_s: float = RETRY_S,
        transport: httpx.BaseTransport | None = None,
        on_trouble: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._wire = Connection(api_url, token, timeout, retry_s, transport, on_trouble)

    @property
    def url(self) -> str:
        return self._wire.url

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._wire.close()

    # What there is.

    def status(self) -> StatusView:
        """Return the control plane and its cluster at a glance."""
        return from_json(StatusView, self._wire.get("/status"))

    def nodes(self) -> tuple[NodeView, ...]:
        return from_json(NodeList, self._wire.get("/nodes")).nodes

    def tenants(self) -> tuple[TenantView, ...]:
        return from_json(TenantList, self._wire.get("/tenants")).tenants

    def datasets(self) -> tuple[ArtefactView, ...]:
        return from_json(ArtefactList, self._wire.get("/datasets")).artefacts

    @property
    def catalogue(self) -> Catalogue:
        """What can be done with versions: find, tag, roll back, publish, take out of use, trace."""
        return Catalogue(self._wire)

    def models(self) -> tuple[ArtefactView, ...]:
        return from_json(ArtefactList, self._wire.get("/models")).artefacts

    def endpoints(self) -> tuple[ArtefactView, ...]:
        return from_json(ArtefactList, self._wire.get("/endpoints")).artefacts

    def workloads(
        self, *, all: bool = False, tenant: str = "", status: str = "", pipeline: str = ""
    ) -> tuple[WorkloadView, ...]:
        """Return the workloads that are not over, or ``all`` of them, or those with a status (several with commas)."""
        found = self._wire.get("/workloads", all=str(all).lower(), tenant=tenant, status=status, pipeline=pipeline)
        return from_json(WorkloadList, found).workloads

    def find(self, ref: str) -> tuple[WorkloadView, ...]:
        """Return what an id, a name, a pipeline or a prefix addresses; raises NotFound."""
        return from_json(WorkloadList, self._wire.get("/workloads", ref=checked(ref))).workloads

    def get(self, ref: str) -> WorkloadView:
        """Return one workload by id, name or prefix."""
        return from_json(WorkloadView, self._wire.get(f"/workloads/{checked(ref)}"))

    def explain(self, ref: str) -> tuple[ExplainView, ...]:
        """Return why each workload waits, or why it runs there, and what to do next."""
        return from_json(ExplainList, self._wire.get(f"/workloads/{checked(ref)}/explain")).explanations

    def plan(self) -> PlanView:
        """Return the plan in force: terms, bound, gap and shares."""
        return from_json(PlanView, self._wire.get("/plan"))

    def events(self, after: int = 0, limit: int = 200, timeout_s: float = 0.0) -> tuple[EventView, ...]:
        found = self._wire.get("/events", after=after, limit=limit, timeout_s=timeout_s)
        return from_json(EventList, found).events

    def usage(self, by: str = "tenant", since_s: float | None = None, until_s: float | None = None) -> UsageView:
        """Return resource-hours by ``tenant``, ``user``, ``accelerator``, ``kind`` or ``workload``.

        Times are seconds on the control plane's clock (``status().now_s``).
        """
        asked = {"by": by, "since_s": since_s, "until_s": until_s}
        given = {key: value for key, value in asked.items() if value is not None}
        return from_json(UsageView, self._wire.get("/usage", **given))

    # What can be done.

    def submit(
        self, source: Source, *, rerun: bool = False, no_cache: bool = False, key: str | None = None
    ) -> Submission:
        """Submit all workloads of a source, or none. The same name and content is the same workload.

        Parameters
        ----------
        source : file, document, Pipeline, or several
            A local ``working_dir`` is uploaded; in a file it is relative to the file.
        rerun : bool
            Run once more what has ended.
        no_cache : bool
            Run everything, though an equal result (``cache: true``) could stand for it.
        key : str, optional
            Idempotency key; a fresh one by default.
        """
        documents, packages = with_packages(documents_of(source))
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        body = {"documents": [document.value for document in documents], "rerun": rerun, "no_cache": no_cache}
        try:
            return self._asked(Submission, documents, "POST", "/workloads", body, headers)
        except MissingPackage:
            for package in packages:
                self._upload(package)
        return self._asked(Submission, documents, "POST", "/workloads", body, headers)

    def dry_run(self, source: Source) -> DryRunView:
        """Return each workload's demand and what the planner would do with it now; nothing is submitted."""
        documents, _ = with_packages(documents_of(source))
        body = {"documents": [document.value for document in documents]}
        return self._asked(DryRunView, documents, "POST", "/plan", body)

    def what_if(self, changes: Iterable[str]) -> WhatIfView:
        """Return the plan as it is and with changes such as ``add 4 h100``, side by side; nothing is changed.

        What ``submit FILE`` names is read here.
        """
        texts = list(changes)
        words = [text.split() for text in texts]
        files = [" ".join(rest) for verb, *rest in filter(None, words) if verb == "submit" and rest]
        read = {name: with_packages(documents_of(name))[0] for name in files}
        sent = {name: [document.value for document in documents] for name, documents in read.items()}
        every = [document for documents in read.values() for document in documents]
        body = {"changes": texts, "documents": sent}
        return self._asked(WhatIfView, every, "POST", "/plan/what-if", body)

    def capacity(self, catalogue: str | Path | None = None, budget: float | None = None) -> AdviceView:
        """Return which nodes to add at least cost so that waiting work starts, and which could go.

        Parameters
        ----------
        catalogue : path, optional
            Node types: a YAML list of ``{name, resources, labels, cost, most}``, or a Ray cluster's own file. By
            default nodes like those of the cluster.
        budget : float, optional
            The most that all new nodes may cost together.
        """
        body: dict[str, Any] = {} if budget is None else {"budget": budget}
        if catalogue is not None:
            body |= {"catalogue": text_of(catalogue), "file": str(catalogue)}
        return self._asked(AdviceView, [], "POST", "/plan/capacity", body)

    def apply(self, source: Source, *, rerun: bool = False) -> Submission:
        """Apply documents of any kind: all is checked before the first is done; tenants come first, then rules."""
        documents = documents_of(source)
        tenants = [document for document in documents if document.value.get("kind") == "tenant"]
        rules = [document for document in documents if document.value.get("kind") in _RULES]
        others = [document for document in documents if document.value.get("kind") not in ("tenant", *_RULES)]
        if sum(map(bool, (tenants, rules, others))) > 1:
            self.dry_run(Documents(documents))
        if tenants:
            self.apply_tenants(Documents(tenants))
        if rules:
            self.apply_rules(Documents(rules))
        if not others:
            return Submission()
        return self.submit(Documents(others), rerun=rerun)

    def apply_tenants(self, source: Source) -> tuple[TenantView, ...]:
        """Add or change tenants; others stay."""
        documents = documents_of(source)
        body = {"documents": [document.value for document in documents]}
        return self._asked(TenantList, documents, "PUT", "/tenants", body).tenants

    def rules(self) -> RulesView:
        """Return the policy in force and the reservations."""
        return from_json(RulesView, self._wire.get("/rules"))

    def apply_rules(self, source: Source) -> RulesView:
        """Replace the policy, make or change reservations; other reservations stay."""
        documents = documents_of(source)
        body = {"documents": [document.value for document in documents]}
        return self._asked(RulesView, documents, "PUT", "/rules", body)

    def unreserve(self, name: str) -> RulesView:
        """Give a reservation up."""
        return from_json(RulesView, self._wire.send("DELETE", f"/reservations/{checked(name)}"))

    def stop(self, ref: str, by: str = "") -> tuple[WorkloadView, ...]:
        """Stop a workload, or all stages of a pipeline."""
        found = self._wire.send("POST", f"/workloads/{checked(ref)}/stop", params={"by": by})
        return from_json(WorkloadList, found).workloads

    def retry(self, ref: str, *, no_cache: bool = False, by: str = "") -> Submission:
        """Submit again what did not succeed of a workload or pipeline; with ``no_cache`` what did, too."""
        params = {"no_cache": str(no_cache).lower(), "by": by}
        return from_json(Submission, self._wire.send("POST", f"/workloads/{checked(ref)}/retry", params=params))

    def wait(self, ref: str, until: str = "over", timeout: float | None = None) -> tuple[WorkloadView, ...]:
        """Wait until all that ``ref`` addresses is ``over``, ``succeeded``, ``running`` or ``ready``.

        Raises NotFinished after ``timeout`` seconds; the workloads go on. A workload that ended otherwise than it
        was waited for is returned as it is.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = POLL_S if deadline is None else max(0.0, deadline - time.monotonic())
            answer = self.poll(ref, until, timeout_s=min(POLL_S, left))
            if answer.done:
                return answer.workloads
            if deadline is not None and time.monotonic() >= deadline:
                going = ", ".join(f"{w.id} is {w.status}" for w in answer.workloads if not w.over)
                raise NotFinished(f"not {until} after {timeout:g} s: {going}", hint=f"it goes on; aios explain {ref}")

    def poll(self, ref: str, until: str = "changed", seen: str = "", timeout_s: float = POLL_S) -> WaitView:
        """Ask once, for at most ``timeout_s``, whether a condition holds or anything has changed since ``seen``."""
        found = self._wire.get(f"/workloads/{checked(ref)}/wait", until=until, seen=seen, timeout_s=timeout_s)
        return from_json(WaitView, found)

    def run(self, source: Source, *, rerun: bool = False, follow: bool = True) -> tuple[WorkloadView, ...]:
        """Submit and wait to the end, printing states and logs; a service counts as done once it is ready."""
        from aios.follow import Follower

        submission = self.submit(source, rerun=rerun)
        follower = Follower(self, [workload.id for workload in submission.workloads])
        for line in follower.lines():
            if follow:
                print(line.text, flush=True)
        return follower.workloads

    def logs(self, ref: str, *, follow: bool = False, attempt: int = 0, tail: int | None = None) -> Iterator[str]:
        """Yield pieces of a workload's log; with ``follow`` until it is over, all further attempts included.

        Parameters
        ----------
        attempt : int
            Which one; 0 means the latest, and with ``follow`` those after it too.
        tail : int, optional
            Begin with the last lines only.
        """
        at, offset = attempt, 0
        if tail is not None:
            at, offset, last = self._tail(ref, attempt, tail)
            yield last
        while True:
            piece = self.log_piece(ref, at, offset, POLL_S if follow else 0.0)
            at, offset = piece.attempt, piece.next_offset
            if piece.text:
                yield piece.text
            elif not follow or (piece.end and (attempt or piece.over) and piece.latest_attempt <= at):
                return
            elif not attempt and piece.latest_attempt > at:
                at, offset = at + 1, 0
            elif attempt and piece.end:
                return

    def _tail(self, ref: str, attempt: int, n_lines: int) -> tuple[int, int, str]:
        """Return the attempt, where its log ends now, and its last lines."""
        held, offset = "", 0
        while (piece := self.log_piece(ref, attempt, offset)).text:
            held = "".join((held + piece.text).splitlines(keepends=True)[-n_lines:]) if n_lines > 0 else ""
            offset = piece.next_offset
        return piece.attempt, offset, held

    def log_piece(self, ref: str, attempt: int = 0, offset: int = 0, timeout_s: float = 0.0) -> LogsView:
        """Return one piece of an attempt's log from a byte on."""
        found = self._wire.get(f"/workloads/{checked(ref)}/logs", attempt=attempt, offset=offset, timeout_s=timeout_s)
        return from_json(LogsView, found)

    def upload_package(self, folder: str | Path) -> PackageView:
        """Upload a folder as a package and return its ``package://`` address; the same files are sent once."""
        return self._upload(pack(Path(folder)))

    # How.

    def _upload(self, package: Package) -> PackageView:
        path = f"/packages/{package.digest}"
        try:
            return from_json(PackageView, self._wire.get(path))
        except NotFound:
            return from_json(PackageView, self._wire.send("PUT", path, content=package.content))

    def _asked(
        self,
        type_: type[_T],
        documents: list[Document],
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
    ) -> _T:
        try:
            return from_json(type_, self._wire.send(method, path, body=body, headers=headers))
        except AiosError as error:
            raise located(error, documents) from None
