"""Seeded clusters for the planner's benchmark: racks of like nodes, fragmented by work that has ended, a long queue.

Nodes have 8 GPUs and stand in racks of 32, with one GPU type in a rack. They are filled to 80 % with gangs of 1 to 64
GPUs, then 15 % of the gangs end, so that what is free is scattered. Pending gangs ask for 1 to 64 GPUs too (42 % for
one); 30 % are elastic, 33 % want one type, half of those larger than a node want a single rack.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from placement.model import (
    ACCELERATOR_KEY,
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    Objective,
    Policy,
    Problem,
    Resources,
    Running,
    Selector,
    Tenant,
    TenantId,
    Topology,
)

TYPES = ("A100", "H100", "L40S")
SIZES = (1, 2, 4, 8, 16, 32, 64)
SHARES = (0.42, 0.14, 0.12, 0.16, 0.08, 0.05, 0.03)
RACK = 32
N_TENANTS = 20
N_PRIORITIES = 4
FULL = 0.8
ENDED = 0.15
NOW_S = 100_000.0


def cluster(n_nodes: int, n_gangs: int, seed: int) -> Problem:
    """Return a cluster at one moment: ``n_nodes`` nodes and ``n_gangs`` pending gangs."""
    random = np.random.default_rng([seed, n_nodes, n_gangs])
    amounts = Resources.parse({"CPU": 96, "GPU": 8, "memory": "1TiB"})
    nodes = tuple(
        Node(
            NodeId(f"n{i}"),
            amounts,
            ((ACCELERATOR_KEY, TYPES[i // RACK % len(TYPES)]), ("rack", f"r{i // RACK}")),
        )
        for i in range(n_nodes)
    )
    tenants = _tenants(8 * n_nodes, random)
    running = _running(nodes, tenants, random)
    pending = tuple(
        gang(f"p{i}", int(size), tenants, random) for i, size in enumerate(random.choice(SIZES, n_gangs, p=SHARES))
    )
    return Problem(nodes, _lawful(tenants, running), running, pending, NOW_S, Policy(objective=Objective.WEIGHTED))


def _tenants(n_gpus: int, random: np.random.Generator) -> tuple[Tenant, ...]:
    """Return tenants whose quotas make up nine tenths of the cluster; some may borrow little."""
    parts = random.dirichlet(np.full(N_TENANTS, 4.0)) * 0.9 * n_gpus
    out = []
    for i, part in enumerate(parts):
        quota = max(1, int(part))
        borrow = (("GPU", 1000 * max(8, quota)),) if i % 3 == 0 else None
        out.append(Tenant(TenantId(f"t{i}"), None, 1.0, Resources.of({"GPU": 1000 * quota}), borrow))
    return tuple(out)


def _lawful(tenants: tuple[Tenant, ...], running: tuple[Running, ...]) -> tuple[Tenant, ...]:
    """Return tenants whose borrowing limits allow what they run."""
    used = dict.fromkeys((tenant.id for tenant in tenants), 0)
    for work in running:
        used[work.demand.tenant] += work.resources.get("GPU")
    out = []
    for tenant in tenants:
        quota = (tenant.quota or Resources()).get("GPU")
        least = max(0, used[tenant.id] - quota)
        limit = tenant.borrow_limit and tuple((name, max(amount, least)) for name, amount in tenant.borrow_limit)
        out.append(replace(tenant, borrow_limit=limit))
    return tuple(out)


_BUNDLES: dict[tuple[int, str], Bundle] = {}


def bundle(n_gpus: int, accelerator: str = "") -> Bundle:
    """Return the one bundle of so many GPUs; like ones are one object."""
    key = (n_gpus, accelerator)
    if key not in _BUNDLES:
        selector = Selector.parse({ACCELERATOR_KEY: accelerator}) if accelerator else Selector()
        resources = Resources.parse({"GPU": n_gpus, "CPU": 8 * n_gpus, "memory": f"{64 * n_gpus}GiB"})
        _BUNDLES[key] = Bundle(resources, selector)
    return _BUNDLES[key]


def gang(name: str, size: int, tenants: tuple[Tenant, ...], random: np.random.Generator) -> Demand:
    elastic, bound = random.random() < 0.3 and size > 1, random.random() < 0.33
    kind = TYPES[int(random.integers(len(TYPES)))] if bound else ""
    one_rack = size > 8 and random.random() < 0.5
    if elastic and size <= 8:
        bundles, least = (bundle(1, kind),) * size, max(1, size // 4)
    elif size <= 8:
        bundles, least = (bundle(size, kind),), 1
    else:
        n = size // 8
        bundles, least = (bundle(8, kind),) * n, max(1, n // 4) if elastic else n
    n = len(bundles)
    scaling = tuple((k, (k / n) ** 0.85) for k in range(least, n + 1)) if elastic else ()
    return Demand(
        DemandId(name),
        tenants[int(random.integers(len(tenants)))].id,
        bundles,
        priority=int(random.choice(N_PRIORITIES, p=(0.4, 0.3, 0.2, 0.1))),
        min_bundles=least,
        topologies=(Topology("pack", "rack", required=True),) if one_rack else (),
        submitted_s=float(NOW_S - random.exponential(20_000.0)),
        runtime_s=float(random.lognormal(8.0, 1.5)),
        speed=() if bound else (("A100", 1.0), ("H100", 1.6), ("L40S", 0.7)),
        scaling=scaling,
    )


def _running(nodes: tuple[Node, ...], tenants: tuple[Tenant, ...], random: np.random.Generator) -> tuple[Running, ...]:
    """Fill the cluster with gangs, then let some end."""
    n, goal = len(nodes), int(FULL * 8 * len(nodes))
    free = np.full(n, 8)
    placed: list[tuple[Demand, list[int]]] = []
    used, i = 0, 0
    order = random.permutation(n)
    cursor = 0
    while used < goal and cursor < n - 8:
        size = int(random.choice(SIZES, p=SHARES))
        demand = gang(f"r{i}", size, tenants, random)
        i += 1
        each = demand.bundles[0].resources.get("GPU") // 1000
        at: list[int] = []
        for _ in demand.bundles:
            # Small bundles go to one of a few nodes that are in use already, whole ones to the next empty node.
            found = -1
            if each < 8:
                for candidate in order[random.integers(max(0, cursor - 40), cursor + 1, size=6)].tolist():
                    if free[candidate] >= each:
                        found = candidate
                        break
            while found < 0:
                if free[order[cursor]] >= each:
                    found = int(order[cursor])
                else:
                    cursor += 1
                    if cursor >= n:
                        break
            if found < 0:
                break
            free[found] -= each
            at.append(found)
        if len(at) < len(demand.bundles):
            for node in at:
                free[node] += each
            break
        used += each * len(at)
        placed.append((demand, at))
    stays = random.random(len(placed)) >= ENDED
    out = []
    for (demand, at), stay in zip(placed, stays.tolist(), strict=True):
        if stay:
            started = float(NOW_S - random.exponential(10_000.0))
            saved = started + (NOW_S - started) * float(random.random()) if random.random() < 0.7 else None
            plain = replace(
                demand, topologies=(), bundles=tuple(bundle(b.resources.get("GPU") // 1000) for b in demand.bundles)
            )
            out.append(Running(plain, tuple(nodes[k].id for k in at), started, saved))
    return tuple(out)
