"""What a project is made of once it is planned: nodes that need each other, each under its key. Knows no audio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from sa3_daw.job import Job
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.values import Effect, Output


@dataclass(frozen=True)
class FileWork:
    """Audio read from a file, doubled when it is mono, resampled when its rate is another."""

    path: Path
    digest: str
    rate: int
    num_samples: int


@dataclass(frozen=True)
class JobWork:
    """Audio made by the daemon; a job with a source gets the audio of the node ``source``."""

    job: Job
    source: str = ""


@dataclass(frozen=True)
class Placement:
    """[first_sample, end_sample) of a clip, sounding from ``start_sample`` of the project on."""

    clip: str
    start_sample: int
    first_sample: int
    end_sample: int
    gain: float
    fade_in_samples: int
    fade_out_samples: int

    @property
    def num_samples(self) -> int:
        return self.end_sample - self.first_sample


@dataclass(frozen=True)
class Feed:
    """A strip's audio behind a fader: what the left and the right side are multiplied with."""

    strip: str
    left: float
    right: float


@dataclass(frozen=True)
class StripWork:
    """Clips and other strips summed, then through effects whose paths are absolute. The fader comes after it."""

    placements: tuple[Placement, ...]
    feeds: tuple[Feed, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class OutputWork:
    """Strips summed and written as one file, ``path`` inside the output folder."""

    feeds: tuple[Feed, ...]
    output: Output
    path: str
    title: str


Work = FileWork | JobWork | StripWork | OutputWork


@dataclass(frozen=True)
class Node:
    """One thing to make. With a problem it has no work and no key."""

    id: str
    line: int
    num_samples: int = 0
    needs: tuple[str, ...] = ()
    work: Work | None = None
    key: str = ""
    problem: Problem | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that a project asks for, what is needed before what needs it."""

    rate: int
    num_samples: int
    nodes: Mapping[str, Node]
    problems: tuple[Problem, ...]
    """What could not even become a node."""

    def all_problems(self) -> list[Problem]:
        """Return what is wrong, in the file's order."""
        found = [*self.problems, *(node.problem for node in self.nodes.values() if node.problem)]
        return sorted(found, key=lambda problem: problem.line)

    def blocked(self) -> dict[str, str]:
        """Return the nodes that cannot be made, each with the node whose problem it is."""
        found: dict[str, str] = {}
        for node in self.nodes.values():
            if node.problem:
                found[node.id] = node.id
            for need in node.needs:
                if need in found:
                    found.setdefault(node.id, found[need])
        return found


def in_order(needs: Mapping[str, list[str]]) -> tuple[list[str], dict[str, list[str]]]:
    """Return names with what they need before them, and for each name in a circle that circle."""
    circles: dict[str, list[str]] = {}
    while True:
        open_needs = {name: [] if name in circles else wanted for name, wanted in needs.items()}
        try:
            return list(TopologicalSorter(open_needs).static_order()), circles
        except CycleError as error:
            circle: list[str] = error.args[1]
            circles |= {name: circle for name in circle}
