"""Gives the documentation a page of each example: MkDocs calls `on_files`.

Examples have the form of keras.io's: strings are prose in Markdown, the rest is code.
"""

import ast
import pathlib

from mkdocs.structure.files import File

_EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def on_files(files, config):
    """Adds a page for each example, `examples/<program>.md`, to the pages in docs."""
    for path in sorted(_EXAMPLES.glob("[a-z]*.py")):
        text = page(path.name, path.read_text(encoding="utf-8"))
        files.append(File.generated(config, f"examples/{path.stem}.md", content=text))
    return files


def page(name, source):
    """Returns an example as Markdown, under the title that its first string gives."""
    lines, parts, code_from = source.splitlines(), [], 0
    for node in ast.parse(source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts += [_code(lines[code_from : node.lineno - 1]), node.value.value]
            code_from = node.end_lineno
    parts.append(_code(lines[code_from:]))
    head, *rest = filter(str.strip, parts)
    fields = dict(line.split(": ", 1) for line in head.strip().splitlines())
    title = f"# {fields['Title']}\n\n{fields['Description']}"
    command = f"Run it with `python -m examples.{name.removesuffix('.py')}`."
    return "\n\n".join([title, command, *(part.strip("\n") for part in rest)]) + "\n"


def _code(lines):
    text = "\n".join(lines).strip("\n")
    return f"```python\n{text}\n```" if text else ""
