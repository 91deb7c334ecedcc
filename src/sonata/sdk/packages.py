"""What a developer does with packages on her own machine: build, validate, unpack.

A project is a folder with `project.yml`: what the package is called, and (5GTANGO's form) which files go into it. A
folder in the list stands for all files in it. Without a list (SONATA's form) the descriptors in `sources/nsd` and
`sources/vnf` are taken. Descriptors keep their path below `Definitions/` (`.tgo`) or go to
`service_descriptors/` and `function_descriptors/` (`.son`); all others keep their path, so that a manager is
`package:managers/x.py` in the project as in the package.

Codes: PROJ-0001 to -0004 structure (see `formats.diagnostics`), -0010 listed file is missing, -0011 two files for one
path of the package, -0012 path leads out of the project, -0013 file too big, -0014 path that packages keep for
themselves, -0015 no files at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from sonata._lib.values import dataclass
from sonata.errors import Conflict, Diagnostic, InvalidInput, NotFound
from sonata.formats.archive import MAX_MEMBER_BYTES
from sonata.formats.descriptor_rules import Level
from sonata.formats.findings import raise_errors
from sonata.formats.osm_package import is_osm_folder, write_osm_package
from sonata.formats.package import RESERVED, PackageInfo, inspect_package, read_files, write_son, write_tgo
from sonata.formats.package_content import NSD_TYPES, VNFD_TYPES, PackageFile, assemble
from sonata.formats.package_documents import ProjectDocument, ProjectFile
from sonata.formats.suggestions import suggestion
from sonata.formats.tolerance import read_model
from sonata.formats.yaml_nodes import YamlDocument, read_yaml
from sonata.model.descriptors import DescriptorId

PROJECT_FILE = "project.yml"
PackageForm = Literal["tgo", "son"]
_LEFT_OUT = {"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_RESERVED_FOLDERS = ("META-INF/", "TOSCA-Metadata/")
_SON_TYPES = {
    "application/vnd.5gtango.nsd": "application/sonata.service_descriptor",
    "application/vnd.5gtango.vnfd": "application/sonata.function_descriptor",
}


@dataclass(frozen=True, slots=True)
class Project:
    """A project that was read: what its package is, its files, and everything found on the way."""

    info: PackageInfo
    files: tuple[PackageFile, ...]
    findings: tuple[Diagnostic, ...]


def build_package(project_folder: Path, target: Path | None = None, *, form: PackageForm = "tgo") -> Path:
    """Build the package of a project, or of a folder with an OSM descriptor; the same content gives the same bytes.

    Args:
        project_folder: folder with `project.yml`.
        target: file to write, or an existing folder to put `VENDOR.NAME.VERSION.tgo` into; by default the current one.
        form: `tgo` (5GTANGO) or `son` (SONATA); taken from the ending of `target` where that has one of the two.

    Returns:
        Path of the package. It replaces an older one at once; nothing is written when there are errors.

    Raises:
        NotFound: there is no such project.
        InvalidInput: with all findings.
    """
    if not (project_folder / PROJECT_FILE).exists() and is_osm_folder(project_folder):
        name = f"{project_folder.resolve().name}.tar.gz"
        return _deliver(write_osm_package(project_folder), _place(name, target))
    project = read_project(project_folder)
    raise_errors(f"project `{project_folder}`", [*project.findings, *_check(project)])
    form = _form_of(target, form)
    return _deliver(_write(project, form), _place(_file_name(project.info.id, form), target))


def _deliver(archive: bytes, path: Path) -> Path:
    # What was written is read back: a package that the platform would refuse never leaves the developer's machine.
    raise_errors(f"package `{path}`", inspect_package(archive, name=str(path))[1])
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(archive)
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise InvalidInput(f"cannot write package `{path}`: {error.strerror}") from error
    return path


def validate_package(path: Path, *, tolerant: bool = False, level: Level = "topology") -> list[Diagnostic]:
    """All findings in a package file, warnings too; empty when it is flawless.

    Raises:
        NotFound: there is no such file.
    """
    try:
        return inspect_package(path, tolerant=tolerant, level=level)[1]
    except InvalidInput as error:
        return _findings_of(error)


def validate_project(folder: Path, *, tolerant: bool = False, level: Level = "topology") -> list[Diagnostic]:
    """All findings in a project folder, warnings too; empty when it is flawless.

    Raises:
        NotFound: there is no such project.
    """
    try:
        if not (folder / PROJECT_FILE).exists() and is_osm_folder(folder):
            return inspect_package(write_osm_package(folder), name=str(folder), tolerant=tolerant)[1]
        project = read_project(folder)
    except InvalidInput as error:
        return _findings_of(error)
    return [*project.findings, *_check(project, tolerant, level)]


def unpack_package(path: Path, folder: Path) -> list[Path]:
    """Write all files of a package into a new or empty folder; returns their paths, sorted.

    Raises:
        NotFound: there is no such package.
        InvalidInput: the package is damaged, unsafe or has errors.
        Conflict: the folder is not empty, or is no folder.
    """
    raise_errors(f"package `{path}`", inspect_package(path, tolerant=True)[1])
    files = read_files(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"`{folder}` is not an empty folder", hint="name a folder that does not exist yet")
    written = []
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        written.append(target)
    return written


def read_project(folder: Path) -> Project:
    """Read `project.yml` and all files that it lists.

    Raises:
        NotFound: there is no such project.
        InvalidInput: `project.yml` is wrong.
    """
    if not (folder / PROJECT_FILE).is_file():
        raise NotFound(
            f"`{folder}` is no project: it has no `{PROJECT_FILE}`",
            hint="name a folder that has one, as `examples/cdn`",
        )
    source = read_yaml(folder / PROJECT_FILE)
    document, findings = read_model(source, ProjectDocument, "PROJ")
    raise_errors(f"project `{folder}`", findings)
    if document is None:
        raise TypeError("a project without errors has a value")
    package = document.package
    identity = DescriptorId(package.vendor, package.name, package.version)
    files: dict[str, PackageFile] = {}
    for index, entry in enumerate(document.files or _sonata_layout(folder)):
        findings += _collect(folder, source, index, entry, files)
    if not files and not findings:
        findings.append(source.diagnostic("PROJ-0015", "the project has no `files`", hint="list its descriptors there"))
    info = PackageInfo(identity, package.maintainer, package.description.strip())
    return Project(info, tuple(files.values()), tuple(findings))


def _sonata_layout(folder: Path) -> list[ProjectFile]:
    """What SONATA's form of a project leaves unsaid: which of its files are descriptors."""
    found = []
    for place, media_type in (("nsd", "application/vnd.5gtango.nsd"), ("vnf", "application/vnd.5gtango.vnfd")):
        for path in _files_below(folder / "sources" / place):
            if path.suffix in {".yml", ".yaml"}:
                name = str(PurePosixPath(path.relative_to(folder)))
                found.append(ProjectFile.model_construct(path=name, type=media_type, tags=[]))
    return found


def _collect(
    folder: Path, source: YamlDocument, index: int, entry: ProjectFile, files: dict[str, PackageFile]
) -> Iterator[Diagnostic]:
    """Put the files of one entry into `files`."""
    where = ("files", index, "path")
    root = folder.resolve()
    path = folder / entry.path
    if not path.resolve().is_relative_to(root) or entry.path.startswith("/"):
        yield source.diagnostic("PROJ-0012", f"`{entry.path}` leads out of the project", where)
        return
    if not path.exists():
        hint = suggestion(entry.path, [str(p.relative_to(folder)) for p in _files_below(folder)])
        yield source.diagnostic("PROJ-0010", f"there is no file `{entry.path}` in the project", where, hint=hint)
        return
    for file in _files_below(path) if path.is_dir() else [path]:
        name = str(PurePosixPath(file.relative_to(folder)))
        yield from _take(file, name, source, where, entry, files)


def _take(
    file: Path,
    name: str,
    source: YamlDocument,
    where: tuple[str | int, ...],
    entry: ProjectFile,
    files: dict[str, PackageFile],
) -> Iterator[Diagnostic]:
    if name in files:
        yield source.diagnostic("PROJ-0011", f"`{name}` is listed twice", where)
    elif name in RESERVED or name.startswith(_RESERVED_FOLDERS):
        yield source.diagnostic("PROJ-0014", f"`{name}` has a path that packages keep for themselves", where)
    elif file.stat().st_size > MAX_MEMBER_BYTES:
        yield source.diagnostic("PROJ-0013", f"`{name}` is bigger than {MAX_MEMBER_BYTES // 1024**2} MiB", where)
    else:
        files[name] = PackageFile(name, entry.type, file.read_bytes(), str(file), tuple(entry.tags))


def _files_below(folder: Path) -> list[Path]:
    """Ordinary files below a folder, sorted; caches, hidden files and links are left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and not name.startswith("."))
        paths = [Path(parent) / name for name in names if not name.startswith(".")]
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return sorted(found)


def _check(project: Project, tolerant: bool = False, level: Level = "topology") -> list[Diagnostic]:
    return assemble(project.info.id, project.files, tolerant=tolerant, level=level)[1]


def _findings_of(error: InvalidInput) -> list[Diagnostic]:
    return list(error.diagnostics) or [Diagnostic("error", error.code, error.message, hint=error.hint)]


def _form_of(target: Path | None, form: PackageForm) -> PackageForm:
    endings: dict[str, PackageForm] = {".son": "son", ".tgo": "tgo"}
    return endings.get(target.suffix, form) if target else form


def _write(project: Project, form: PackageForm) -> bytes:
    if form == "son":
        return write_son(project.info, [_in_son(file) for file in project.files])
    return write_tgo(project.info, [_in_tgo(file) for file in project.files])


def _in_tgo(file: PackageFile) -> PackageFile:
    is_descriptor = file.media_type in NSD_TYPES | VNFD_TYPES
    return replace(file, path=f"Definitions/{file.path}") if is_descriptor else file


def _in_son(file: PackageFile) -> PackageFile:
    media_type = _SON_TYPES.get(file.media_type, file.media_type)
    if media_type in NSD_TYPES:
        return replace(file, path=f"service_descriptors/{_flat(file.path)}", media_type=media_type)
    if media_type in VNFD_TYPES:
        return replace(file, path=f"function_descriptors/{_flat(file.path)}", media_type=media_type)
    return file


def _flat(path: str) -> str:
    """A file name that tells apart files of the same name in different folders."""
    return path.replace("/", "-")


def _file_name(identity: DescriptorId, form: PackageForm) -> str:
    return f"{identity.vendor}.{identity.name}.{identity.version}.{form}"


def _place(name: str, target: Path | None) -> Path:
    if target is None:
        return Path(name)
    return target / name if target.is_dir() else target
