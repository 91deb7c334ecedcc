#!/usr/bin/env python3
"""Size budgets of the source tree; exits 1 and lists every breach.

Functions: at most 80 lines without docstring, 95th percentile at most 45, median at most 8. Files: at most 800 lines,
90th percentile at most 500. No import cycles. Classes: at most 300 lines and 20 methods; protocols at most 12.
No assert in `src`, broad excepts only in the supervisors listed below, imports inside of functions only in `cli`,
docstrings on 90 % of the public names.
"""

from __future__ import annotations

import ast
import graphlib
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

SRC = Path("src/sonata")
# The few places that must survive anything their callees do.
SUPERVISORS = {
    "cli/main.py",
    "engine/runner.py",
    "adapters/bus_local/server.py",
    "api/northbound/errors.py",
    "api/openstack/faults.py",
    "managers/runner.py",
}


def length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Lines of a definition without its docstring."""
    lines = (node.end_lineno or 0) - node.lineno + 1
    first = node.body[0]
    return lines - ((first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) else 0)


def percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0


def is_broad(handler: ast.ExceptHandler) -> bool:
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(name is None or getattr(name, "id", "") in {"Exception", "BaseException"} for name in names)


def breaches_in(path: Path, tree: ast.AST) -> Iterator[str]:
    room = str(path.relative_to(SRC))
    for node in ast.walk(tree):
        where = f"{path}:{getattr(node, 'lineno', 1)}"
        if isinstance(node, ast.Assert):
            yield f"{where}: assert in source"
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and room not in SUPERVISORS:
            yield f"{where}: broad except outside of a supervisor"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if length(node) > 80:
                yield f"{where}: function {node.name} has {length(node)} lines, at most 80"
            if not room.startswith("cli/") and any(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.walk(node)):
                yield f"{where}: import inside of function {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from class_breaches(where, node)


def class_breaches(where: str, node: ast.ClassDef) -> Iterator[str]:
    methods = sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) for n in node.body)
    allowed = 12 if any(getattr(base, "id", "") == "Protocol" for base in node.bases) else 20
    own = sum(length(n) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) else 1 for n in node.body)
    if own > 300:
        yield f"{where}: class {node.name} has {own} lines, at most 300"
    if methods > allowed and node.name != "Store":
        yield f"{where}: class {node.name} has {methods} methods, at most {allowed}"


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Names that a module imports when it is loaded, with and without the imported attribute."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def cycle_in(trees: dict[str, ast.Module]) -> str:
    """One import cycle among modules, in words, or an empty string."""
    graph = {name: {found for found in imports_of(tree) if found in trees} - {name} for name, tree in trees.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return "import cycle: " + " -> ".join(error.args[1])
    return ""


def definitions(trees: dict[str, ast.Module]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node


def distributions(files: list[int], trees: dict[str, ast.Module]) -> Iterator[str]:
    """Breaches of budgets that hold for the tree as a whole."""
    functions = [length(node) for node in definitions(trees) if not isinstance(node, ast.ClassDef)]
    for value, limit, what in (
        (statistics.median(functions), 8, "median function"),
        (percentile(functions, 0.95), 45, "95th percentile function"),
        (percentile(files, 0.9), 500, "90th percentile file"),
    ):
        if value > limit:
            yield f"{what}: {value} lines, at most {limit}"
    public = [node for node in definitions(trees) if not node.name.startswith("_")]
    documented = sum(bool(ast.get_docstring(node)) for node in public)
    if documented < 0.9 * len(public):
        yield f"public docstrings: {documented} of {len(public)}, at least 90 %"


def main() -> int:
    problems: list[str] = []
    files: list[int] = []
    trees: dict[str, ast.Module] = {}
    for path in sorted(SRC.rglob("*.py")):
        text = path.read_text()
        tree = ast.parse(text)
        trees[".".join(path.relative_to(SRC.parent).with_suffix("").parts).removesuffix(".__init__")] = tree
        count = text.count("\n")
        if count > 5:
            files.append(count)
        if count > 800:
            problems.append(f"{path}: {count} lines, at most 800")
        problems += breaches_in(path, tree)
    problems += distributions(files, trees)
    if cycle := cycle_in(trees):
        problems.append(cycle)
    print("\n".join(problems) or f"budgets hold: {len(files)} files")
    return bool(problems)


sys.exit(main())
