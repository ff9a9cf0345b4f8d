"""The flow of an endpoint: deploy on exactly the planned nodes, probe, say that it is ready, wait, take away."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any

from ray import serve
from ray.serve import RunTarget
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from aios.engines import Preempted, Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.models.verified import verified
from pipelines.run import Whereabouts, actor_options, on_nodes, quiet
from pipelines.serve.further import FILE, Further
from pipelines.serve.instance import app_name, delete_earlier, ensure, on_head
from pipelines.serve.layers import Layer, layers
from pipelines.serve.replica import Predictor
from pipelines.serve.spec import ServeSpec
from pipelines.train.network import read_card

STEP_S = 0.2
TAKEN = re.compile(r'Prefix \S+ is being used by application "([^"]+)"')
PROBE_TIMEOUT_S = 30.0


def serve_model(spec: ServeSpec, ctx: RunContext) -> Result:
    """Answer at ``spec.route`` until ``ctx.stop_event`` is set."""
    quiet()
    card = read_card(verified(ctx.inputs["model"], ctx.storage))
    if card["model"]["type"] == "custom":
        raise WorkloadFailed(f"model {card['name']!r} was made by a train_loop: serve it with a script workload")
    name = app_name(ctx.workload, ctx.attempt)
    n_fixed = min(spec.min_replicas or len(ctx.nodes), len(ctx.nodes))
    further = Further(ctx, name, n_fixed, lambda bundle, node: _further(spec, ctx, bundle, node))
    url = ensure(ctx.storage) + spec.route
    delete_earlier(ctx.workload, ctx.attempt)
    ctx.check_fence()
    try:
        target = RunTarget(target=_application(spec, ctx, n_fixed), name=name, route_prefix=spec.route)
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        if _running(name, ctx) and _answers(url, card, ctx) and further.fit(ctx.nodes):
            meta = {"url": url, "model": ctx.inputs["model"].reference, "replicas": len(ctx.nodes)}
            ctx.reporter.log(f"{url} answers")
            ctx.ready([Artefact("endpoint", spec.name, url, meta=json.dumps(meta))])
            _watch(name, ctx, further)
    except RayServeException as error:
        raise _refused(spec, str(error)) from None
    finally:
        further.remove()
        serve.delete(name)
    if ctx.preempting():
        raise Preempted
    return Result(metrics={"replicas": len(ctx.nodes)})


def _application(spec: ServeSpec, ctx: RunContext, n_fixed: int) -> serve.Application:
    """Return the endpoint: the first layer takes requests and passes the further layers their part."""
    model, nodes = ctx.inputs["model"], ctx.nodes[:n_fixed]
    where = Whereabouts(ctx.run_name, nodes, ctx.reporter)  # Serve itself replaces a replica that hangs
    common = (model, str(ctx.storage), where)
    first, *rest = layers(nodes)
    others = []
    for i, layer in enumerate(rest, start=1):
        others.append((layer.n_replicas, _deployment(spec, ctx, layer, f"layer-{i}").bind(*common)))
    return _deployment(spec, ctx, first, "predictor").bind(
        *common, n_fixed, first.n_replicas, others, str(ctx.dir / FILE)
    )


def _further(spec: ServeSpec, ctx: RunContext, bundle: int, node: str) -> serve.Application:
    """Return one more replica, of a bundle above the minimum, on its node."""
    model = ctx.inputs["model"]
    where = Whereabouts(ctx.run_name, (*("",) * bundle, node), ctx.reporter)
    deployment = _deployment(spec, ctx, Layer((node,), 1), "predictor")
    return deployment.bind(model, str(ctx.storage), where)


def _deployment(spec: ServeSpec, ctx: RunContext, layer: Layer, name: str) -> serve.Deployment:
    return serve.deployment(Predictor).options(
        name=name,
        num_replicas=layer.n_replicas,
        max_replicas_per_node=layer.per_node,
        max_ongoing_requests=spec.max_ongoing_requests,
        ray_actor_options={**actor_options(ctx.bundles[0]), "label_selector": on_nodes(layer.nodes)},
        graceful_shutdown_timeout_s=min(5.0, ctx.grace_s / 2),
        graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=2,
        health_check_timeout_s=20,
    )


def _running(name: str, ctx: RunContext) -> bool:
    """Wait until all replicas run; False when asked to stop before."""
    while not ctx.stop_event.wait(STEP_S):
        app = serve.status().applications.get(name)
        if app is not None and app.status == ApplicationStatus.RUNNING:
            return True
        if app is not None and app.status == ApplicationStatus.DEPLOY_FAILED:
            raise WorkloadFailed(f"the endpoint did not start: {_first_line(app.message)}", detail=app.message)
    return False


def _answers(url: str, card: dict[str, Any], ctx: RunContext) -> bool:
    """Send a real request until it is answered; False when asked to stop before."""
    features = card["features"]
    row = card["statistics"]["mean"] if card["statistics"] else [0.0] * len(features)
    waited_s, last = 0.0, ""
    while waited_s < PROBE_TIMEOUT_S:
        status, last = on_head(ask, url, {"rows": [row]})
        if status == 200:
            return True
        if ctx.stop_event.wait(STEP_S):
            return False
        waited_s += STEP_S
    raise RuntimeError(f"{url} does not answer after {PROBE_TIMEOUT_S:g} s: {last}")


def ask(url: str, body: dict[str, Any]) -> tuple[int, str]:
    """POST JSON; return the status (0: nothing answered) and the body."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def _watch(name: str, ctx: RunContext, further: Further) -> None:
    """Wait for the stop, and change the size when asked; raise when the application is gone or has failed for good."""
    has = ctx.nodes
    while not ctx.stop_event.wait(0.5):
        wanted = ctx.wanted
        if wanted and wanted != has and wanted[: further.n_fixed] == ctx.nodes[: further.n_fixed]:
            ctx.reporter.log(f"{len(has)} replicas become {len(wanted)}")
            if further.fit(wanted):
                has = wanted
                ctx.resized(len(has))
        app = serve.status().applications.get(name)
        if app is None:
            raise RuntimeError(f"Serve application {name} was deleted by somebody else")


def _refused(spec: ServeSpec, error: str) -> WorkloadFailed:
    """Return what Serve's refusal means: most often somebody else answers at this route."""
    if taken := TAKEN.search(error):
        owner = taken[1].removeprefix("aios-").rpartition("-")[0] if taken[1].startswith("aios-") else taken[1]
        return WorkloadFailed(
            f"route {spec.route} is taken by {owner}: stop that with `aios stop {owner}`, or give another route_prefix"
        )
    return WorkloadFailed(f"the endpoint did not start: {_first_line(error)}", detail=error)


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "Serve gave no reason"
