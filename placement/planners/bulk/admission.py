"""Admission in the order of the laws for large questions: the same turns as ``planners.admission``, kept up to date.

Theory of operation. ``turns`` says whose turn it is. A start is tried on what is idle, then beside the claims, then by
displacing; a step of growth likewise. What a search has found impossible is remembered by kind of bundle until rooms
grow or a tenant's use falls, so that most of a long queue is decided without looking at a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from heapq import nlargest

from placement.model import Demand, DemandId, Problem, TenantId
from placement.planners.bulk.blocked import Blocked
from placement.planners.bulk.buckets import Amounts
from placement.planners.bulk.claims import Claims
from placement.planners.bulk.foresight import Held, Part, parts_of
from placement.planners.bulk.gangs import Gang, Gangs
from placement.planners.bulk.kinds import OPEN, Closed, Groups, Kind, Kinds
from placement.planners.bulk.outcome import Got, Outcome
from placement.planners.bulk.placing import Placer
from placement.planners.bulk.rooms import Rooms
from placement.planners.bulk.spots import Going
from placement.planners.bulk.turns import Book, Step, Turns
from placement.planners.bulk.victims import VictimSearch
from placement.planners.keeping import in_the_way
from placement.planners.tree import Tree

EFFORT_PER_NODE = 4
"""Looks at a node, for each node and workload of the question, that the search for victims may take in all."""
ALIKE = 4
"""How many like workloads of a tenant are asked at once when it gets its right back; each that starts asks one more."""
MOST_DOMAINS = 4
"""Domains that are tried for a gang that displaces others and has to stand in one."""


class Admission:
    """Decides every pending demand, then gives what is left idle to elastic work."""

    def __init__(self, problem: Problem, displaces: bool = True) -> None:
        self.problem, self.displaces = problem, displaces
        self.tree = Tree(problem)
        self.book = Book(self.tree)
        self.kinds = Kinds(problem, self.tree.capacity)
        self.rooms = Rooms(problem, self.kinds, self.tree.capacity)
        self.gangs = Gangs(problem, self.kinds, self.rooms, self.book)
        self.placer = Placer(self.rooms)
        self.blind = Placer(self.rooms, remembers=False)
        self.claims = Claims(problem, self.gangs)
        effort = EFFORT_PER_NODE * (len(problem.nodes) + len(problem.running) + len(problem.pending)) + 1000
        self.search = VictimSearch(self.gangs, self.placer, effort)
        self.turns = Turns(self.book)
        self.out = Outcome(self.rooms, self.gangs)
        self.blocked = Blocked(self.kinds, self.placer)
        self.offered: dict[DemandId, Sequence[int]] = {}
        """Nodes with room for whose sake someone is asked again."""
        self.regained: set[DemandId] = set()
        """Who was asked again as its tenant has fallen below its quota or limit; those like it come after it."""
        self.growth: dict[DemandId, Step] = {}
        self.n_granted = 0
        self._hopeless: dict[object, int] = {}
        for i, demand in enumerate(problem.pending):
            self.turns.push(self._first_step(demand, i))
        for gang in self.gangs.all:
            if gang.keep < len(gang.running.demand.bundles):
                self._grow_next(gang.running.demand, -1, gang.keep)

    def run(self) -> Outcome:
        while (step := self.turns.next()) is not None:
            self.turns.pop(step)
            if step.grows:
                self._grow(step)
            elif not self._start(step):
                self._block(step)
        return self.out

    # -- steps ---------------------------------------------------------------------------------------------------

    def _first_step(self, demand: Demand, number: int) -> Step:
        groups = self.kinds.groups(demand, 0, demand.min_bundles, self._closed_to(demand))
        more = self.kinds.amounts(groups)
        return Step(demand, number, (demand.submitted_s, number), demand.priority, groups, more)

    def _closed_to(self, demand: Demand) -> Closed:
        """Return the reservations whose nodes a demand may not use, by their place in the problem."""
        if not self.problem.reservations:
            return OPEN
        gang, until_s = self.gangs.by_id.get(demand.id), None
        if gang is not None and demand.runtime_s is not None:
            end_s = gang.since + demand.runtime_s
            until_s = end_s if end_s >= self.problem.now_s else None
        found = {id(r) for r in in_the_way(self.problem, self.tree, demand, self.problem.now_s, until_s)}
        return frozenset(i for i, r in enumerate(self.problem.reservations) if id(r) in found)

    def _grow_next(self, demand: Demand, number: int, n: int) -> None:
        """Let elastic work ask for its next bundle."""
        if n < len(demand.bundles):
            groups = self.kinds.groups(demand, n, n + 1, self._closed_to(demand))
            arrival = (demand.submitted_s, number)
            more = self.kinds.amounts(groups)
            step = Step(demand, number, arrival, demand.priority, groups, more, grows=True)
            self.growth[demand.id] = step
            self.turns.push(step)

    def _start(self, step: Step) -> bool:
        forms = [step]
        for number in range(1, len(step.demand.alternatives) + 1):
            other = self._first_step(step.demand.form(number), step.number)
            forms.append(other)
        has_room = False
        for number, form in enumerate(forms):
            if self.book.allowed(form.demand.tenant, form.more):
                at = self.placer.place(form.demand, form.groups)
                if at is not None:
                    has_room = True
                    passing = self._passing(form, at, (), free_to_move=True)
                    if passing is not None:
                        self._grant(step, number, form, passing)
                        return True
        if has_room or not self.displaces:
            # Where there is room but for a claim, nobody is displaced: that victim could have been spared.
            return False
        return any(self._displacing(form, (), partial(self._grant, step, n, form)) for n, form in enumerate(forms))

    def _grow(self, step: Step) -> None:
        demand = step.demand
        self.growth.pop(demand.id, None)
        got = self.out.got.get(demand.id)
        gang = self.gangs.by_id.get(demand.id) if got is None else None
        held = got.at if got is not None else gang.at[: gang.keep] if gang is not None else []
        if self.book.allowed(demand.tenant, step.more):
            at = self.placer.place(demand, step.groups, held)
            if at is not None:
                passing = self._passing(step, at, held, free_to_move=False)
                if passing is not None:
                    self._extend(step, passing)
                return
        if got is not None and self.displaces:
            self._displacing(step, held, partial(self._extend, step))

    # -- law 8 ---------------------------------------------------------------------------------------------------

    def _end(self, demand: Demand) -> tuple[float, float, int]:
        gang = self.gangs.by_id.get(demand.id)
        if gang is not None:
            return self.claims.tenures.end_of(demand, gang.since, 0)
        return self.claims.tenures.end_of(demand, self.problem.now_s, self.n_granted + 1)

    def _passing(self, step: Step, at: list[int], held: Sequence[int], free_to_move: bool) -> list[int] | None:
        """Return nodes on which the newcomer delays no claim that may not be passed, or None."""
        if not self.claims.all:
            return at
        end, parts = self._end(step.demand), list(parts_of(step.groups, at))
        delayed = self.claims.delayed(step, parts, end)
        if not delayed:
            return at
        if free_to_move:
            other = self.blind.place(step.demand, step.groups, held, self.claims.avoid(delayed))
            if other is not None and not self.claims.delayed(step, list(parts_of(step.groups, other)), end):
                return other
        late, passed = list[Held](), list[Held]()
        for claim in delayed:
            if self._passes_by_right(claim, step):
                late.append(claim)
            elif self.claims.could_displace(claim, step):
                passed.append(claim)
            elif not self.claims.moved(claim, step, parts):
                return None
        for claim in passed:
            claim.passed.add(step.demand.id)
        self._late = late
        return at

    _late: Sequence[Held] = ()

    def _passes_by_right(self, claim: Held, step: Step) -> bool:
        """Return whether a guarantee lets the newcomer pass: another tenant's, or its own before what borrows."""
        mine, _ = self.tree.apart(step.demand.tenant, claim.step.demand.tenant)
        top = mine[-1] if mine else step.demand.tenant
        if not self.book.guaranteed(top, step.more):
            return False
        return bool(mine) or (claim.step.priority <= step.priority and not self.claims.guaranteed_then(claim))

    def _renew_late(self) -> None:
        late, self._late = self._late, ()
        for claim in late:
            self.claims.renew(claim)

    # -- displacing ----------------------------------------------------------------------------------------------

    def _displacing(self, step: Step, held: Sequence[int], adopt: Callable[[list[int]], None]) -> bool:
        """Let others go for a newcomer and adopt it; nothing has changed where that fails."""
        required = [topology for topology in step.demand.topologies if topology.required]
        places: list[tuple[int, Sequence[int] | None]] = [(-1, None)]
        if required:
            if len(required) > 1 or required[0].kind == "spread" or required[0].slice or len(step.groups) > 1:
                return False
            kind, n = step.groups[0][0], len(step.groups[0][1])
            sign = step.demand.tenant, step.priority, kind.number, n, step.demand.id if held else None
            if self._hopeless.get(sign) == len(self.rooms.grown) or self.search.hopeless(step, kind, n):
                return False
            places = self._domains(step, held, required[0].key)
        for tried, (domain, nodes) in enumerate(places):
            if len(step.groups) > 1 or not tried:
                self.search.begin()
            if required and self.search.hopeless(step, kind, n, (required[0].key, domain)):
                continue
            goings: list[Going] = []
            at = self._cleared(step, nodes, goings)
            passing = None
            if at is None and required:
                self.search.note_failed(step, kind, n, (required[0].key, domain))
            if at is not None:
                passing = self._passing(step, at, held, free_to_move=False)
            if passing is None:
                for going in reversed(goings):
                    self.search.undo(going)
                continue
            before = self._before(goings)
            adopt(passing)
            self._after_displacing(step, goings, before)
            return True
        if required:
            self._hopeless[sign] = len(self.rooms.grown)
        return False

    def _domains(self, step: Step, held: Sequence[int], key: str) -> list[tuple[int, Sequence[int] | None]]:
        """Return the domains that are worth a try, with their nodes: those with the most room first."""
        of, members = self.rooms.domains(key)
        if held:
            return [(of[held[0]], members[of[held[0]]])] if of[held[0]] >= 0 else []
        _, gpus = self.rooms.domain_room(key)
        return [(d, members[d]) for d in nlargest(MOST_DOMAINS, range(len(members)), gpus.__getitem__)]

    def _cleared(self, step: Step, nodes: Sequence[int] | None, goings: list[Going]) -> list[int] | None:
        """Let victims go kind by kind; return the newcomer's nodes."""
        taken: list[tuple[Kind, int, int]] = []
        answer: dict[int, int] = {}
        for kind, places in step.groups:
            going = self.search.clear(step, kind, len(places), nodes)
            if going is None:
                break
            goings.append(going)
            picked = self.blind.pick(kind, len(places), nodes)
            if picked is None:
                break
            waiting = iter(places)
            for node, n in picked:
                self.rooms.take(node, kind, n)
                taken.append((kind, node, n))
                answer.update((next(waiting), node) for _ in range(n))
        for kind, node, n in reversed(taken):
            self.rooms.give(node, kind, n)
        total = sum(len(places) for _, places in step.groups)
        return [answer[i] for i in sorted(answer)] if len(answer) == total else None

    def _before(self, goings: Sequence[Going]) -> dict[int, Amounts]:
        """Return what was free, before they went, on the nodes that the victims leave."""
        before: dict[int, list[int]] = {}
        for going in goings:
            for gang, had in going.order:
                for node, kind in zip(gang.at[gang.keep : had], gang.kinds[gang.keep : had], strict=True):
                    if node >= 0:
                        free = before.setdefault(node, list(self.rooms.free[node]))
                        for i, amount in kind.needs:
                            free[i] -= amount
        return {node: tuple(free) for node, free in before.items()}

    def _after_displacing(self, step: Step, goings: Sequence[Going], before: dict[int, Amounts]) -> None:
        lost: dict[TenantId, bool] = {}
        for going in goings:
            for gang, had in going.order:
                if self._fits_back(gang, had) and self._may_stay(step, gang, had, going.reclaims):
                    continue
                self.out.displaced.append((gang, going.causes[gang.index], step.demand.id))
                self.claims.note_gone(gang.running.demand, gang.since, _between(gang, gang.keep, had))
                growing = self.growth.pop(gang.id, None)
                if growing is not None:
                    growing.void = True
                self.turns.touch(gang.tenant)
                lost[gang.tenant] = True
        roomier = [
            node for node, free in before.items() if self.rooms.open[node] and _more(self.rooms.free[node], free)
        ]
        self.rooms.grown.extend(roomier)
        self._reconsider(step, roomier, lost)

    def _fits_back(self, gang: Gang, had: int) -> bool:
        wanted: dict[int, list[int]] = {}
        for node, kind in _between(gang, gang.keep, had):
            if node >= 0:
                if self.rooms.parts[node] or kind.gpu % 1000:
                    return False
                free = wanted.setdefault(node, list(self.rooms.free[node]))
                for i, amount in kind.needs:
                    free[i] -= amount
                    if free[i] < 0:
                        return False
        return True

    def _may_stay(self, step: Step, gang: Gang, had: int, reclaims: bool) -> bool:
        """Put a victim back if no limit of the newcomer's objects, nor the guarantee by which it reclaims."""
        keep, tenant = gang.keep, step.demand.tenant
        if reclaims and gang.tenant == tenant:
            return False
        self.gangs.restore(gang, had)
        if self.book.limited(tenant) and self.tree.refusal(tenant, self.book.use, step.more) is not None:
            self.gangs.release(gang, keep)
            return False
        return True

    def _reconsider(self, step: Step, roomier: Sequence[int], lost: dict[TenantId, bool]) -> None:
        """Ask those again for whom victims have left room, and those whose tenants have fallen below their quota."""
        self._offer(roomier)
        for tenant in lost:
            limited, again = self.book.limited(tenant), list[Step]()
            if tenant == step.demand.tenant and not limited:
                continue
            for queue in self.blocked.of(tenant):
                alike = len(queue[0].groups) == 1
                for i, other in enumerate(queue):
                    if limited and self.book.allowed(tenant, other.more):
                        pass
                    elif tenant != step.demand.tenant and self.book.guaranteed(tenant, other.more):
                        self.search.forget()
                    elif alike:
                        break
                    else:
                        continue
                    if alike:
                        again += queue[i : i + ALIKE]
                        break
                    again.append(other)
            for other in again:
                self._ask_again(other, ())
                self.regained.add(other.demand.id)

    def _ask_next(self, step: Step) -> None:
        """Ask the next one like a workload whose tenant had got its right back, and that has started by it."""
        other = self.blocked.next_like(step)
        if other is not None:
            self._ask_again(other, ())
            self.regained.add(other.demand.id)

    def _offer(self, roomier: Sequence[int]) -> None:
        """Ask the first of each tenant again whom room on these nodes may help."""
        for step in self.blocked.helped(roomier):
            self._ask_again(step, roomier)

    def _ask_again(self, step: Step, roomier: Sequence[int]) -> None:
        self.blocked.remove(step)
        self.claims.drop(step.demand.id)
        self.offered[step.demand.id] = roomier
        self.turns.push(step)

    # -- what follows from a decision ----------------------------------------------------------------------------

    def _grant(self, step: Step, number: int, form: Step, at: list[int]) -> None:
        self.n_granted += 1
        self._count(form, at)
        self.out.got[step.demand.id] = Got(number, form.demand, at)
        self._grow_next(form.demand, step.number, len(at))
        self._renew_late()
        roomier = self.offered.pop(step.demand.id, ())
        if roomier:
            self._offer(roomier)
        if step.demand.id in self.regained:
            self._ask_next(step)

    def _extend(self, step: Step, at: list[int]) -> None:
        demand = step.demand
        self._count(step, at)
        got = self.out.got.get(demand.id)
        if got is not None:
            got.at.extend(at)
            n = len(got.at)
        else:
            gang = self.gangs.by_id[demand.id]
            self.gangs.extend(gang, at[0], step.groups[0][0])
            self.out.grown[demand.id] = gang
            n = gang.keep
        self._grow_next(demand, step.number, n)
        self._renew_late()

    def _count(self, step: Step, at: list[int]) -> None:
        """Take a step's bundles from their nodes and count them for its tenants."""
        end = self._end(step.demand)
        for kind, places in step.groups:
            _take(self.rooms, kind, at, places, step.groups)
        self.book.count(step.demand.tenant, step.more)
        self.turns.touch(step.demand.tenant)
        self.claims.note_grant(step.demand, list(parts_of(step.groups, at)), end)

    def _block(self, step: Step) -> None:
        self.blocked.add(step)
        self.offered.pop(step.demand.id, None)
        self.claims.add(step)


def _take(rooms: Rooms, kind: Kind, at: Sequence[int], places: Sequence[int], groups: Groups) -> None:
    first = min(places[0] for _, places in groups)
    counts: dict[int, int] = {}
    for place in places:
        node = at[place - first]
        counts[node] = counts.get(node, 0) + 1
    for node, n in counts.items():
        rooms.take(node, kind, n)


def _between(gang: Gang, first: int, last: int) -> list[Part]:
    return list(zip(gang.at[first:last], gang.kinds[first:last], strict=True))


def _more(now: Amounts, before: Amounts) -> bool:
    return any(a > b for a, b in zip(now, before, strict=True))
