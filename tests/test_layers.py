"""The layers of the package, read from its imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import captioning

ROOT = Path(captioning.__file__).parent
LAYERS = (
    ("errors", "json_files", "memory", "modes", "processes", "seeds"), ("files",), ("text",), ("metrics",),
    ("reranking",),
    ("recurrent",), ("handwriting",), ("encoders",), ("data",), ("decoders",), ("matchers",), ("search",),
    ("objectives",), ("model",), ("evaluation",), ("reports",), ("training",), ("benchmarks",), ("commands",),
)  # fmt: skip
"""From the ground up, as docs/architecture.md has them: each may import those above it in this list."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = {".".join(("captioning", *path.relative_to(ROOT).with_suffix("").parts)): path for path in ROOT.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}


def imports(module: str) -> Iterator[str]:
    """The package's own modules that a module imports when it is imported, or when a function of it runs."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "captioning":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)


GRAPH = {module: set(imports(module)) - {module} for module in MODULES}


def folder(module: str) -> str:
    """The part of the package that a module belongs to; "" for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def test_the_package_s_root_holds_folders_and_what_everybody_stands_on() -> None:
    files = {path.name for path in ROOT.iterdir() if path.is_file()}
    modules = {"errors.py", "json_files.py", "memory.py", "modes.py", "onednn.py", "processes.py", "seeds.py"}
    assert files == {"__init__.py", "__main__.py", "py.typed", *modules}
    assert {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"} <= {*LEVEL, "conf"}


def test_a_folder_imports_only_those_above_it() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if folder(module) in LEVEL and folder(other) in LEVEL and LEVEL[folder(other)] > LEVEL[folder(module)]
    ]
    assert not wrong


def test_no_two_modules_import_each_other_even_by_way_of_others() -> None:
    # A package's __init__ offers what its files define; it is no part of what they stand on.
    graph = {m: {o for o in others if MODULES[o].name != "__init__.py"} for m, others in GRAPH.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_text_and_metrics_know_no_torch_and_search_knows_decoders_and_metrics_alone() -> None:
    def outside(part: str) -> set[str]:
        found = set()
        for module, path in MODULES.items():
            if folder(module) == part:
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                    names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                    found |= {
                        f"{module} imports {n}" for n in names if n.split(".")[0] in ("torch", "pytorch_lightning")
                    }
        return found

    assert {line.split(" ")[0] for line in outside("text")} <= {"captioning.text.cbow"}
    assert not outside("metrics") | outside("reranking")
    assert not any("pytorch_lightning" in line for line in outside("model"))
    assert not any(folder(o) == "data" for m, others in GRAPH.items() if folder(m) == "decoders" for o in others)
    assert {folder(o) for m, others in GRAPH.items() if folder(m) == "search" for o in others} <= {
        "errors", "seeds", "text", "metrics", "encoders", "decoders", "search"
    }  # fmt: skip
