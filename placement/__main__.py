"""``python -m placement solve``, ``explain`` and ``capacity``: a scenario's answer, why, what if, and what lacks."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from placement.answer import answer_json, answer_text
from placement.capacity import advise
from placement.catalogue import read_catalogue
from placement.comparing import advice_json, advice_text, difference_json, difference_text
from placement.explain import explain, explain_plan
from placement.model import Demand, DemandId, Plan, Problem
from placement.planners import ladder
from placement.planners.base import Budget
from placement.reading import suggestion
from placement.scenario import Scenario, ScenarioError, load_pending, load_scenario, read_text
from placement.whatif import Submit, compare
from placement.wording import GRAMMAR, ChangeError, parse_all

ANSWERED, WRONG = 0, 2
LADDER = "ladder"
PLANNERS = (LADDER, *(planner.name for planner in ladder.PLANNERS))


def main(argv: Sequence[str] | None = None) -> int:
    """Answer the command line; returns the exit status: 0 answered, 2 the file or the command line is wrong."""
    options = _parser().parse_args(argv)
    status = ANSWERED
    try:
        status = options.command(options)
        sys.stdout.flush()
    except (ScenarioError, ChangeError) as error:
        print(error, file=sys.stderr)
        return WRONG
    except BrokenPipeError:
        # The reader (a pager, head) has seen enough; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _solve(options: argparse.Namespace) -> int:
    if options.path.is_dir():
        if options.what_if:
            raise ScenarioError(str(options.path), None, "", "is a folder", "a what-if is asked of one scenario")
        return _solve_folder(options)
    scenario = load_scenario(options.path)
    if options.what_if:
        return _what_if(scenario, options)
    plan = _plan(scenario.problem, options)
    print(_json(answer_json(plan)) if options.json else answer_text(scenario, plan))
    return ANSWERED


def _what_if(scenario: Scenario, options: argparse.Namespace) -> int:
    changes, _ = parse_all(options.what_if, scenario.problem, submitted=_submitted)
    found = compare(scenario.problem, changes, lambda problem: _plan(problem, options))
    print(_json(difference_json(found, options.what_if)) if options.json else difference_text(found, options.what_if))
    return ANSWERED


def _submitted(file: str, problem: Problem) -> Submit:
    return Submit(load_pending(Path(file), problem))


def _solve_folder(options: argparse.Namespace) -> int:
    files = sorted(path for path in options.path.iterdir() if path.suffix in (".yaml", ".yml"))
    if not files:
        raise ScenarioError(str(options.path), None, "", "holds no .yaml file", "name a scenario or a folder of them")
    answers: dict[str, object] = {}
    n_wrong = 0
    for path in files:
        try:
            scenario = load_scenario(path)
        except ScenarioError as error:
            print(error, file=sys.stderr)
            answers[path.name] = {"error": str(error)}
            n_wrong += 1
            continue
        plan = _plan(scenario.problem, options)
        answers[path.name] = answer_json(plan)
        if not options.json:
            print(f"{path.name}: {answer_text(scenario, plan)}\n")
    if options.json:
        print(_json(answers))
    return WRONG if n_wrong == len(files) else ANSWERED


def _explain(options: argparse.Namespace) -> int:
    scenario = load_scenario(options.path)
    names = [demand.id for demand in _demands(scenario)]
    if options.name not in names:
        raise ScenarioError(
            str(options.path), None, "", f"no workload is named {options.name!r}", suggestion(options.name, names)
        )
    plan = _plan(scenario.problem, options)
    found = explain(scenario.problem, plan, DemandId(options.name), lambda problem: _solved(problem, options))
    print(found)
    return ANSWERED


def _capacity(options: argparse.Namespace) -> int:
    problem = load_scenario(options.path).problem
    catalogue = None
    if options.catalogue is not None:
        catalogue = read_catalogue(read_text(options.catalogue), str(options.catalogue), problem.nodes)
    found = advise(problem, catalogue, options.budget, lambda asked: _solved(asked, options), _budget(options))
    print(_json(advice_json(found)) if options.json else advice_text(found))
    return ANSWERED


def _demands(scenario: Scenario) -> list[Demand]:
    return [run.demand for run in scenario.problem.running] + list(scenario.problem.pending)


def _plan(problem: Problem, options: argparse.Namespace) -> Plan:
    return explain_plan(problem, _solved(problem, options))


def _solved(problem: Problem, options: argparse.Namespace) -> Plan:
    alone = tuple(planner for planner in ladder.PLANNERS if planner.name == options.planner)
    return ladder.plan(problem, _budget(options), clock=time.monotonic, planners=alone or ladder.PLANNERS)


def _budget(options: argparse.Namespace) -> Budget:
    return Budget() if options.seconds is None else Budget(wall_s=options.seconds, deterministic_s=options.seconds)


def _json(answer: dict[str, object]) -> str:
    return json.dumps(answer, indent=1, allow_nan=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m placement", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="solve|explain|capacity")
    solve = commands.add_parser("solve", help="what starts, what yields, what waits and why")
    solve.add_argument("path", type=Path, metavar="FILE|DIR", help="a scenario, or a folder of them")
    solve.add_argument("--json", action="store_true", help="answer as JSON; for a folder {file name: answer}")
    solve.add_argument(
        "--what-if", action="append", default=[], metavar="CHANGE", help=f"side by side with: {'; '.join(GRAMMAR)}"
    )
    solve.set_defaults(command=_solve)
    why = commands.add_parser("explain", help="why a workload waits, or why it runs where it runs")
    why.add_argument("path", type=Path, metavar="FILE")
    why.add_argument("name", metavar="NAME", help="a workload of the scenario")
    why.set_defaults(command=_explain)
    more = commands.add_parser("capacity", help="which nodes to add at least cost, and which could go")
    more.add_argument("path", type=Path, metavar="FILE")
    more.add_argument("--catalogue", type=Path, help="node types: a YAML list, or a Ray cluster's file")
    more.add_argument("--budget", type=_cost, help="the most that all new nodes may cost together")
    more.add_argument("--json", action="store_true", help="answer as JSON")
    more.set_defaults(command=_capacity)
    for command in (solve, why, more):
        command.add_argument("--planner", choices=PLANNERS, default=LADDER)
        command.add_argument("--seconds", type=_seconds, help="how long the planner may think (default 10)")
    return parser


def _cost(text: str) -> float:
    try:
        cost = float(text)
    except ValueError:
        cost = math.nan
    if not 0 <= cost <= 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is no cost: write a number such as 8")
    return cost


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write seconds such as 10 or 0.5")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
