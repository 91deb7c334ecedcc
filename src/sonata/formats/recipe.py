r"""Reader of image recipes: Debian packages, a few files, a program.

```yaml
name: web-origin
suite: bookworm              # default
base: ../common.yaml         # optional: another recipe, whose image lies below this one
packages: [apache2]
files:
  /usr/local/sbin/start: {source: start.sh, mode: "0755"}
  /var/www/html/hello.txt: {content: "hello\\n"}
command: [/usr/local/sbin/start]
env: {LANG: C.UTF-8}
ready_tcp_port: 80           # the machine is ready when something listens here
```

Codes: RECIPE-0001 to -0004 structure (see `diagnostics`), -0010 file without or with two sources, -0011 source file
missing, -0012 path of a file, -0013 bases in a circle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from sonata.formats.diagnostics import StrictModel, from_validation_error, matching
from sonata.formats.findings import Finding, raise_errors
from sonata.formats.yaml_nodes import YamlDocument, read_yaml
from sonata.model.recipe import Recipe, RecipeFile

_NAME = Annotated[str, *matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "at most 63 letters, digits, `.`, `_` and `-`")]
_SUITE = Annotated[str, *matching(r"[a-z]{1,30}", "the name of a Debian release in small letters")]
# Debian Policy 5.6.1, optionally with a version.
_PACKAGE = Annotated[str, *matching(r"[a-z0-9][a-z0-9.+-]+(=[A-Za-z0-9.+:~-]+)?", "the name of a Debian package")]
_MODE = Annotated[str, *matching(r"[0-7]{3,4}", 'a file mode in octal digits such as "0755"')]
_VARIABLE = Annotated[str, *matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]


class FileDocument(StrictModel):
    """A file of the image: its text here, or a file beside the recipe."""

    content: str | None = None
    source: str | None = None
    mode: _MODE = "0644"


class RecipeDocument(StrictModel):
    """The file as it is written."""

    name: _NAME
    suite: _SUITE = "bookworm"
    base: str | None = None
    packages: list[_PACKAGE] = Field(default_factory=list)
    files: dict[str, FileDocument] = Field(default_factory=dict)
    command: list[str] = Field(default_factory=list)
    env: dict[_VARIABLE, str] = Field(default_factory=dict)
    ready_tcp_port: int = Field(0, ge=0, le=65535)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe, the recipes that it is based on, and its files.

    Raises:
        NotFound: there is no such file.
        InvalidInput: with all findings.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> Recipe:
    document = read_yaml(path)
    try:
        content = RecipeDocument.model_validate(document.data)
    except ValidationError as error:
        raise_errors(f"recipe `{path}`", from_validation_error(error, document, RecipeDocument, "RECIPE"))
        raise
    chain = (*above, path.resolve())
    _check(path, document, content, chain)
    base = _read(path.parent / content.base, chain) if content.base else None
    return Recipe(
        content.name,
        base.suite if base else content.suite,
        base,
        tuple(sorted(set(content.packages))),
        {target: _load(path.parent, each) for target, each in sorted(content.files.items())},
        tuple(content.command) or (base.command if base else ()),
        {**(base.env if base else {}), **content.env},
        content.ready_tcp_port,
    )


def _check(path: Path, document: YamlDocument, content: RecipeDocument, chain: tuple[Path, ...]) -> None:
    findings = [finding.locate(document) for finding in _findings(path.parent, content, chain)]
    raise_errors(f"recipe `{path}`", findings)


def _findings(folder: Path, content: RecipeDocument, chain: tuple[Path, ...]) -> Iterator[Finding]:
    if content.base and (folder / content.base).resolve() in chain:
        yield Finding("RECIPE-0013", ("base",), f"`{content.base}` is based on this recipe")
    for target, each in content.files.items():
        where = ("files", target)
        if (
            not target.startswith("/")
            or ".." in target.split("/")
            or os.path.normpath(target) != target
            or not target.isprintable()
        ):
            yield Finding("RECIPE-0012", where, f"`{target}` is no plain absolute path of a file")
        if (each.content is None) == (each.source is None):
            yield Finding("RECIPE-0010", where, f"`{target}` needs either `content` or `source`")
        elif each.source is not None and not (folder / each.source).is_file():
            yield Finding("RECIPE-0011", (*where, "source"), f"there is no file `{folder / each.source}`")


def _load(folder: Path, file: FileDocument) -> RecipeFile:
    content = (file.content or "").encode() if file.source is None else (folder / file.source).read_bytes()
    return RecipeFile(content, int(file.mode, 8))
