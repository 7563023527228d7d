"""`sa3-daw render`: a project planned, carried out, and what became of it. Knows no clip's making and no effect."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sa3_daw.cli.maker import open_maker
from sa3_daw.cli.perform import cancelled_by_daemon
from sa3_daw.cli.words import BAD_INPUT, FAILURE
from sa3_daw.client import Client, JobCancelled
from sa3_daw.config import DaemonConfig, load_config
from sa3_daw.errors import InvalidField, Sa3Error, invalid
from sa3_daw.render.project.nodes import Node, OutputWork, Plan
from sa3_daw.render.project.plan import plan_project
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.read import read_project
from sa3_daw.render.project.report import write_report
from sa3_daw.render.project.run import Outcome, Renderer, to_make
from sa3_daw.render.project.values import Project
from sa3_daw.session import Session


def run(arguments: argparse.Namespace) -> int:
    """Render a project, or only say what would be rendered."""
    if not 0 < arguments.effect_seconds <= 86_400:
        raise invalid("effect-seconds", float(arguments.effect_seconds), "above 0, at most 86400")
    path: Path = arguments.project
    project, plan = read(path, load_config() if arguments.ray else config_in_force())
    folder: Path = arguments.output or path.resolve().with_suffix("")
    if folder.exists() and not folder.is_dir():
        raise invalid("output", str(folder), "a folder, there already or not")
    problems = plan.all_problems()
    say = Sayer(path, as_json=arguments.json)
    with ExitStack() as stack:

        def connect() -> tuple[Session, int]:
            maker, in_flight = stack.enter_context(open_maker(arguments.ray))
            return Session(sample_rate=plan.rate, tempo=project.tempo, client=maker), in_flight

        renderer = Renderer(plan, project.tempo, folder, connect, float(arguments.effect_seconds))
        for problem in problems:
            say.problem(problem)
        if arguments.plan:
            say.plan(plan, to_make(plan, renderer.store, renderer.manifest))
        if arguments.plan or (problems and not arguments.keep_going):
            return BAD_INPUT if problems else 0
        try:
            outcomes = renderer.run(arguments.keep_going, say.outcome)
        except JobCancelled:
            raise cancelled_by_daemon() from None
    report = write_report(folder, path.stem, plan, renderer.manifest, [*problems, *failures(outcomes)])
    num_outputs = sum(isinstance(node.work, OutputWork) for node in plan.nodes.values())
    num_there = sum(outcome.state in ("made", "kept") and is_output(outcome.node) for outcome in outcomes)
    say.end(report, num_there, num_outputs)
    return FAILURE if problems or failures(outcomes) or num_there < num_outputs else 0


def config_in_force() -> DaemonConfig:
    """Return the configuration with how the running daemon's engine computes; one that would be started uses it all."""
    config = load_config()
    try:
        with Client.connect(autostart=False) as client:
            hello = client.hello()
    except Sa3Error:  # Where a clip has to be made, the same is told then.
        return config
    return replace(config, device=hello.device, precision=hello.precision, compile=hello.is_compiled)


def read(path: Path, config: DaemonConfig) -> tuple[Project, Plan]:
    """Read and plan a project's file. Raises InvalidField, naming file and line, or OSError."""
    try:
        project = read_project(path.read_text(encoding="utf-8-sig"))
        return project, plan_project(project, path.resolve().parent, config)
    except UnicodeDecodeError as error:
        raise invalid("project", str(path), "a TOML file in UTF-8") from error
    except Problem as problem:
        raise InvalidField(f"{path} line {problem.line}: {problem.message}") from problem


def is_output(node: Node) -> bool:
    return isinstance(node.work, OutputWork)


def failures(outcomes: list[Outcome]) -> list[Problem]:
    return [outcome.problem for outcome in outcomes if outcome.problem and outcome.state == "failed"]


class Sayer:
    """Says what happens: a line for each thing on standard output, what is wrong on standard error."""

    def __init__(self, path: Path, *, as_json: bool) -> None:
        self._path = path
        self._as_json = as_json

    def problem(self, problem: Problem) -> None:
        print(f"sa3-daw: {self._path} line {problem.line}: {problem.message}", file=sys.stderr)
        self._event("problem", line=problem.line, message=problem.message)

    def plan(self, plan: Plan, missing: list[Node]) -> None:
        """Print every node with what would be done about it."""
        blocked = plan.blocked()
        to_do = {node.id for node in missing}
        for node in plan.nodes.values():
            state = "blocked" if node.id in blocked else "make" if node.id in to_do else "keep"
            is_needless = state == "keep" and not is_output(node)
            self._event("node", id=node.id, line=node.line, state=state, key=node.key, num_samples=node.num_samples)
            if not self._as_json and not is_needless:
                because = f" (needs {blocked[node.id]})" if blocked.get(node.id, node.id) != node.id else ""
                print(f"{state:7} {node.id}, {node.num_samples} samples{because}")
        self._event("plan", num_samples=plan.num_samples, sample_rate=plan.rate, to_make=len(to_do))
        if not self._as_json:
            print(f"{plan.num_samples} samples at {plan.rate} Hz; {len(to_do)} to make")

    def outcome(self, outcome: Outcome) -> None:
        problem = outcome.problem
        self._event("outcome", id=outcome.node.id, state=outcome.state)
        if problem:
            self.problem(problem)
        elif not self._as_json:
            print(f"{outcome.state:7} {outcome.node.id}", flush=True)

    def end(self, report: Path, num_there: int, num_outputs: int) -> None:
        self._event("render", files=num_there, asked=num_outputs, report=str(report))
        if not self._as_json:
            print(f"{report}: {num_there} of {num_outputs} files")

    def _event(self, event: str, **facts: object) -> None:
        if self._as_json:
            print(json.dumps({"event": event, **facts}), flush=True)
