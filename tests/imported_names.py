"""The names that a Python file imports."""

import ast


def of_file(path):
    """Returns dotted names, such as `numpy` and `pathlib.Path`; no relative ones."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names
