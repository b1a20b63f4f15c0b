"""The rooms of the house: clustering ← router ← xelm, no cycles, no pickle, light imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("clustering", "router", "xelm")
MAY_IMPORT = {"clustering": {"clustering"}, "router": {"clustering", "router"}, "xelm": set(PACKAGES)}
HEAVY = {"torch", "transformers", "datasets", "accelerate", "peft", "matplotlib", "sklearn", "lightgbm"}
PICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def _module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _files() -> dict[str, Path]:
    return {_module_name(p): p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))}


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_files()[module].read_text(encoding="utf-8"))


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _all_imports(module: str) -> set[str]:
    return {name for node in ast.walk(_tree(module)) for name in _names(node)}


def _load_time_imports(module: str) -> set[str]:
    """What is imported when the module is: not inside functions, not for the type checker only."""

    def visit(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            yield from _names(node)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from visit(node.orelse)
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for block in ("body", "orelse", "finalbody"):
                    yield from visit(getattr(node, block, []))
                for handler in getattr(node, "handlers", []):
                    yield from visit(handler.body)

    return set(visit(_tree(module).body))


def test_there_are_modules_to_check() -> None:
    assert {"clustering.files", "router", "xelm.cli"} <= set(_files())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_layers_below_it(package: str) -> None:
    foreign = set(PACKAGES) - MAY_IMPORT[package] | {"experiments", "tests"}
    broken = {
        module: sorted(name for name in _all_imports(module) if name.split(".")[0] in foreign)
        for module in _files()
        if module.split(".")[0] == package
    }
    assert {module: names for module, names in broken.items() if names} == {}


def test_clustering_has_no_torch_or_transformers_even_inside_functions() -> None:
    for module in _files():
        if module.split(".")[0] == "clustering":
            assert not {n.split(".")[0] for n in _all_imports(module)} & {"torch", "transformers"}, module


def test_nothing_pickles() -> None:
    for module in _files():
        assert not {n.split(".")[0] for n in _all_imports(module)} & PICKLING, module
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.Call):
                call = ast.unparse(node.func)
                assert call not in ("torch.save", "torch.load"), f"{module}: {call} pickles"
                allow = [k.value for k in node.keywords if k.arg == "allow_pickle"]
                assert all(ast.unparse(value) == "False" for value in allow), f"{module}: allow_pickle"


ALLOWED_CIRCLES = {
    # `RoutedLM.as_causal_lm` and `RoutedForCausalLM.from_pretrained` are two doors to one thing.
    frozenset({"xelm.inference.routed", "xelm.inference.causal_lm"}),
}


def _own_imports(module: str) -> set[str]:
    """Own modules that a module imports, inside functions too; not for the type checker only."""

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from visit(other)
            elif isinstance(child, ast.ImportFrom):
                named = [f"{child.module}.{alias.name}" for alias in child.names]
                # `from a import b` means the module a.b where there is one, else something in a.
                yield from (name if name in _files() else str(child.module) for name in named)
            elif isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            else:
                yield from visit(child)

    return {name for name in visit(_tree(module)) if name in _files()} - {module}


def _circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of modules that reach one another."""
    reached: dict[str, set[str]] = {}
    for module in graph:
        seen, waiting = set[str](), [module]
        while waiting:
            for name in graph[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        reached[module] = seen
    groups = (frozenset(n for n in seen if module in reached[n]) for module, seen in reached.items())
    return {group for group in groups if len(group) > 1}


def test_there_are_no_import_cycles() -> None:
    at_load = {module: {n for n in _load_time_imports(module) if n in _files()} - {module} for module in _files()}
    assert _circles(at_load) == set()


def test_no_import_inside_a_function_hides_a_circle() -> None:
    found = _circles({module: _own_imports(module) for module in _files()})
    assert len(ALLOWED_CIRCLES) <= 3
    assert found == ALLOWED_CIRCLES


def test_a_hidden_circle_would_be_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set[str](), "e": {"a"}}
    assert _circles(graph) == {frozenset("abc")}


def test_every_module_has_a_docstring_and_imports() -> None:
    for module in _files():
        assert ast.get_docstring(_tree(module)) or not _files()[module].read_text(encoding="utf-8"), module
        if module != "xelm.__main__":  # which runs the program
            import_module(module)


def test_the_public_names_can_all_be_had() -> None:
    import xelm

    for name in xelm.__all__:
        assert getattr(xelm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'expertset'"):
        _ = xelm.expertset


@pytest.mark.parametrize(
    "code",
    [
        "import xelm",
        "import clustering, router",
        "import sys; sys.argv = ['xelm', '--help']\nfrom xelm.cli import main\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code",
    ],
    ids=["import xelm", "import clustering, router", "xelm --help"],
)
def test_light_imports_load_nothing_heavy(code: str) -> None:
    program = f"{code}\nimport sys, json\nprint(json.dumps([m.split('.')[0] for m in sys.modules]), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    loaded = set(json.loads(result.stderr.splitlines()[-1]))
    assert loaded & {"scipy", *HEAVY} == set()


def test_experiments_import_public_names_only() -> None:
    import clustering
    import router
    import xelm
    import xelm.parts

    public = {m.__name__: set(getattr(m, "__all__", ())) for m in (clustering, router, xelm, xelm.parts)}
    public["xelm"].add("parts")
    broken = []
    for file in sorted((ROOT / "experiments").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(str(node.module), alias.name) for alias in node.names]
            else:
                continue
            ours = [(module, name) for module, name in names if module.split(".")[0] in PACKAGES]
            broken += [
                f"{file.relative_to(ROOT)}: {module}.{name}"
                for module, name in ours
                if module not in public or (name is not None and name not in public[module])
            ]
    assert broken == []


def test_the_building_blocks_can_all_be_had() -> None:
    import xelm.parts

    assert all(getattr(xelm.parts, name) is not None for name in xelm.parts.__all__)


def _rooms() -> dict[str, list[str]]:
    """The rooms of each package: folders with modules, one level down."""
    return {p: sorted(f.parent.name for f in (ROOT / p).glob("*/__init__.py")) for p in PACKAGES}


def test_no_room_holds_more_than_fourteen_files() -> None:
    rooms: dict[str, int] = {}
    for file in _files().values():
        room = file.parent.relative_to(ROOT).as_posix()
        rooms[room] = rooms.get(room, 0) + 1
    rooms.pop("xelm/cli")  # one file a command
    assert {room: number for room, number in rooms.items() if number > 14} == {}


def test_every_room_is_on_the_map() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = page.split("```\nclustering/\n", 1)[1].split("```", 1)[0]
    shown: dict[str, list[str]] = {"clustering": []}
    for line in block.splitlines():
        name = line.split("/")[0]
        if name.startswith(" "):
            shown[list(shown)[-1]].append(name.strip())
        else:
            shown[name] = []
    assert {package: sorted(rooms) for package, rooms in shown.items()} == _rooms()
