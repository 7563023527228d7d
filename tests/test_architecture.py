"""Imports point downward: the floors, who may touch ZeroMQ, torch and the environment, and no cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "logs", "config", "job", "edits", "take", "blobs", "adapter_words", "parent", "spare_memory"}),
    frozenset({"music", "audio", "tensor_files", "adapter_files", "weight_files", "published", "hub"}),
    frozenset({"sampling", "models", "checkpoint", "converted"}),
    frozenset({"generation", "protocol", "catalogue"}),
    frozenset({"engine", "daemon", "client", "client_clip", "client_link", "recipe", "conformance", "verification"}),
    frozenset({"render", "session"}),
    frozenset({"cli", "__main__"}),
)
"""Rooms from the lowest floor up; a module may import its own room, its own floor and every floor below."""

MAY_USE_ZMQ = {
    "sa3_daw.client_link",
    "sa3_daw.daemon.client_sockets",
    "sa3_daw.daemon.engine_handle",
    "sa3_daw.daemon.engine_room",
    "sa3_daw.daemon.remote",
    "sa3_daw.daemon.server",
    "sa3_daw.engine.main",
}
WITHOUT_TORCH = {
    "sa3_daw",
    "cli",
    "client",
    "client_clip",
    "client_link",
    "daemon",
    "protocol",
    "catalogue",
    "music",
    "errors",
    "config",
    "job",
    "edits",
    "take",
    "blobs",
    "tensor_files",
    "adapter_files",
    "weight_files",
    "published",
    "hub",
}
MAY_READ_ENVIRONMENT = {"sa3_daw.config"}
ONLY_IN_RENDER = {"pedalboard"}


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of both packages by its import name."""
    found = {}
    for top, name in (("sa3_daw", "sa3_daw"), ("training", "sa3_training")):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT / top).with_suffix("").parts
            dotted = ".".join((name, *(part for part in parts if part != "__init__")))
            found[dotted] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


def imports(tree: ast.Module, *, at_load_only: bool = False) -> set[str]:
    """Return the full names a module imports; ``at_load_only`` leaves out imports inside functions and for types."""
    found: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not (at_load_only and (lazy or for_types)):
            pending += ast.iter_child_nodes(node)
    return found


def home_module(name: str) -> str | None:
    """Return our module that holds an imported name; None for foreign ones."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def room(module: str) -> str:
    return [*module.split("."), "sa3_daw"][1]


def floor(module: str) -> int:
    return next(index for index, rooms in enumerate(FLOORS) if room(module) in rooms)


DAW_MODULES = [name for name in modules() if name.startswith("sa3_daw")]
ROOM_MODULES = [name for name in DAW_MODULES if name not in ("sa3_daw", "sa3_daw.embedded")]


@pytest.mark.parametrize("module", ROOM_MODULES)
def test_imports_point_down_or_sideways(module: str) -> None:
    for name in imports(modules()[module]):
        target = home_module(name)
        if target and target.startswith("sa3_daw.") and room(target) != "embedded":
            assert floor(target) <= floor(module), f"{module} imports {target}, which stands above it"


def test_nothing_in_the_package_imports_training() -> None:
    for module in DAW_MODULES:
        assert not any(name.startswith("sa3_training") for name in imports(modules()[module])), module


def test_training_stands_on_models_and_not_on_the_daemon() -> None:
    for module, tree in modules().items():
        if module.startswith("sa3_training"):
            rooms = {room(name) for name in imports(tree) if name.startswith("sa3_daw.")}
            assert not rooms & {"daemon", "engine", "client", "protocol", "cli"}, module


def test_modules_import_each_other_in_no_circle() -> None:
    graph = {
        module: {home for name in imports(tree, at_load_only=True) if (home := home_module(name)) and home != module}
        for module, tree in modules().items()
    }
    TopologicalSorter(graph).prepare()


def test_only_the_listed_modules_touch_zeromq() -> None:
    users = {module for module, tree in modules().items() if any(n.split(".")[0] == "zmq" for n in imports(tree))}
    assert users == MAY_USE_ZMQ


def test_front_rooms_never_mention_torch() -> None:
    for module in DAW_MODULES:
        if room(module) in WITHOUT_TORCH:
            heads = {name.split(".")[0] for name in imports(modules()[module])}
            assert not heads & {"torch", "torchaudio"}, module


def test_pedalboard_stays_in_render() -> None:
    for module, tree in modules().items():
        if room(module) != "render":
            assert not ONLY_IN_RENDER & {name.split(".")[0] for name in imports(tree)}, module


def test_only_config_reads_the_environment() -> None:
    for module in DAW_MODULES:
        if module not in MAY_READ_ENVIRONMENT:
            used = {ast.unparse(node) for node in ast.walk(modules()[module]) if isinstance(node, ast.Attribute)}
            assert not used & {"os.environ", "os.getenv", "os.environb"}, module


@pytest.mark.parametrize("module", ["sa3_daw", "sa3_daw.cli", "sa3_daw.client", "sa3_daw.daemon.server"])
def test_importing_the_front_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_importing_the_package_loads_only_the_standard_library() -> None:
    code = "import sys; import sa3_daw; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    foreign = set(done.stdout.split()) - sys.stdlib_module_names - {"sa3_daw", "__main__"}
    assert foreign == set()
