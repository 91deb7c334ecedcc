"""Manifests of packages and projects as they are written.

PD is the manifest of SONATA's `.son`, NAPD that of 5GTANGO's `.tgo`, `project.yml` what both are built from.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from sonata.formats.descriptor_documents import Md5, Version, Word
from sonata.formats.diagnostics import matching
from sonata.formats.tolerance import TolerableModel

ArchivePath = Annotated[str, *matching(r"[A-Za-z0-9\-_./]{1,1024}", "a path of letters, digits, `-`, `_`, `.` and `/`")]
MediaType = Annotated[str, *matching(r"[A-Za-z0-9\-_./+]{1,255}", "a media type such as `application/x-python`")]
Tag = Annotated[str, *matching(r"[A-Za-z0-9\-_.:/]{1,255}", "a tag of letters, digits, `-`, `_`, `.`, `:` and `/`")]


class SonataContent(TolerableModel):
    """A file of a `.son` package."""

    name: ArchivePath
    content_type: MediaType = Field(alias="content-type")
    md5: Md5 | None = None
    sealed: bool | None = None


class SonataManifest(TolerableModel):
    """PD: the package descriptor of a `.son` package (son-schema 1.0)."""

    package_schema: str | None = Field(None, alias="schema")
    descriptor_version: str
    vendor: Word
    name: Word
    version: Version
    maintainer: str | None = None
    description: str = ""
    md5: Md5 | None = None
    signature: str | None = None
    entry_service_template: ArchivePath | None = None
    sealed: bool | None = None
    package_content: list[SonataContent] = Field(default_factory=list)
    package_resolvers: list[dict[str, Any]] | None = None
    package_dependencies: list[dict[str, Any]] | None = None
    artifact_dependencies: list[dict[str, Any]] | None = None
    decoration = frozenset(
        {
            *("schema", "maintainer", "description", "md5", "signature", "sealed"),
            *("package_resolvers", "package_dependencies", "artifact_dependencies"),
        }
    )


class TangoContent(TolerableModel):
    """A file of a `.tgo` package."""

    source: ArchivePath
    algorithm: str
    hash: str
    content_type: MediaType = Field(alias="content-type")
    tags: list[Tag] | None = None
    testing_tags: list[Tag] | None = None
    decoration = frozenset({"tags", "testing_tags"})


class TangoManifest(TolerableModel):
    """NAPD: the package descriptor of a `.tgo` package (tng-schema 0.9)."""

    descriptor_schema: str
    vendor: Word
    name: Word
    version: Version
    package_type: MediaType | None = None
    release_date_time: str | None = None
    maintainer: str | None = None
    description: str = ""
    logo: ArchivePath | None = None
    package_content: list[TangoContent] = Field(default_factory=list)
    decoration = frozenset({"package_type", "release_date_time", "maintainer", "description", "logo"})


class ProjectPackage(TolerableModel):
    """What a project says of the package built from it."""

    vendor: Word
    name: Word
    version: Version
    maintainer: str = ""
    description: str = ""
    logo: ArchivePath | None = None


class ProjectFile(TolerableModel):
    """A file, or a folder with all files in it, of a project."""

    path: ArchivePath
    type: MediaType
    tags: list[Tag] = Field(default_factory=list)
    testing_tags: list[Tag] = Field(default_factory=list)


class ProjectDocument(TolerableModel):
    """`project.yml`; without `files` it is of SONATA's form, which keeps descriptors in fixed folders."""

    version: str | None = None
    package: ProjectPackage
    descriptor_extension: str | None = None
    files: list[ProjectFile] = Field(default_factory=list)
    uuid: str | None = None
