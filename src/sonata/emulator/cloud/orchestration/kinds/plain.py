"""Types of resources of the engine itself: values, random texts, configurations, delays."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable, Mapping
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import TYPE_CHECKING, Any

from sonata._lib.later import later
from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import SoftwareConfig, StackResource
from sonata.emulator.cloud.orchestration.agent import COMPONENT
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind, NeedsReplacement
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.work import ResourceFailed, ToldToFail, Work
from sonata.formats.hot.parameters import converted

if TYPE_CHECKING:
    import yaml
else:
    yaml = later("yaml")

CLASSES: Mapping[str, str] = {
    "lettersdigits": string.ascii_letters + string.digits,
    "letters": string.ascii_letters,
    "lowercase": string.ascii_lowercase,
    "uppercase": string.ascii_uppercase,
    "digits": string.digits,
    "hexdigits": string.digits + "ABCDEF",
    "octdigits": string.octdigits,
}


def plain_kinds() -> Iterable[Kind]:
    """All types that need no service."""
    schemas = type_schemas()
    yield Kind(schema=schemas["OS::Heat::None"], open_ended=True)
    yield RandomString(schema=schemas["OS::Heat::RandomString"])
    yield Value(schema=schemas["OS::Heat::Value"])
    yield TestResource(schema=schemas["OS::Heat::TestResource"])
    yield Delay(schema=schemas["OS::Heat::Delay"])
    yield Config(schema=schemas["OS::Heat::SoftwareConfig"])
    yield SoftwareComponent(schema=schemas["OS::Heat::SoftwareComponent"])
    yield StructuredConfig(schema=schemas["OS::Heat::StructuredConfig"])
    yield CloudConfig(schema=schemas["OS::Heat::CloudConfig"])
    yield MultipartMime(schema=schemas["OS::Heat::MultipartMime"])


@dataclass(frozen=True, kw_only=True)
class RandomString(Kind):
    """A random text, the same for as long as the resource lives."""

    async def create(self, work: Work) -> None:
        """Draw it."""
        value = random_text(work.properties)
        work.remember(value=value)
        work.made(work.physical_name)

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The text."""
        return {"value": work.row.data.get("value")}

    def reference(self, row: StackResource) -> Any:
        """The text itself."""
        return row.data.get("value")


def random_text(properties: Mapping[str, Any]) -> str:
    """A random text of some length with at least so many of each class and sequence.

    Raises:
        ResourceFailed: the length does not suffice for them.
    """
    parts: list[str] = []
    for one in properties.get("character_sequences") or ():
        parts += [secrets.choice(one["sequence"]) for _ in range(one.get("min", 1))]
    for one in properties.get("character_classes") or ():
        parts += [secrets.choice(CLASSES[one.get("class", "lettersdigits")]) for _ in range(one.get("min", 1))]
    length = properties["length"]
    if len(parts) > length:
        raise ResourceFailed(
            "Length property cannot be smaller than combined character class and character sequence minimums"
        )
    pool = [CLASSES[one.get("class", "lettersdigits")] for one in properties.get("character_classes") or ()]
    pool += [one["sequence"] for one in properties.get("character_sequences") or ()]
    while len(parts) < length:
        parts.append(secrets.choice(secrets.choice(pool or [CLASSES["lettersdigits"]])))
    secrets.SystemRandom().shuffle(parts)
    return "".join(parts)


@dataclass(frozen=True, kw_only=True)
class Value(Kind):
    """A value with a name."""

    async def create(self, work: Work) -> None:
        """Keep it in its type."""
        work.remember(value=_typed(work.properties))
        work.made(work.physical_name)

    async def update(self, work: Work, changed: Changed) -> None:
        """Keep another."""
        work.remember(value=_typed(work.properties))

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The value."""
        return {"value": work.row.data.get("value")}


def _typed(properties: Mapping[str, Any]) -> Any:
    kind = properties.get("type")
    return converted(kind, properties["value"]) if kind else properties["value"]


@dataclass(frozen=True, kw_only=True)
class TestResource(Kind):
    """A resource for tests: it waits, fails and is replaced as told."""

    async def create(self, work: Work) -> None:
        """Wait, and fail if told so."""
        if not work.properties["fail"]:
            work.remember(value=work.properties["value"])
            work.made(work.physical_name)
        await self._wait(work, "create")
        if work.properties["fail"]:
            raise ToldToFail(f"Test Resource failed {work.row.name}")

    async def update(self, work: Work, changed: Changed) -> None:
        """Take the new value."""
        if work.properties["update_replace"]:
            raise NeedsReplacement
        await self._wait(work, "update")
        if work.properties["fail"]:
            raise ToldToFail(f"Test Resource failed {work.row.name}")
        work.remember(value=work.properties["value"])

    async def delete(self, work: Work) -> None:
        """Wait."""
        await self._wait(work, "delete")

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The value."""
        return {"output": work.row.data.get("value")}

    async def _wait(self, work: Work, action: str) -> None:
        seconds = (work.properties.get("action_wait_secs") or {}).get(action, work.properties.get("wait_secs", 0))
        await work.sleep(seconds or 0)


@dataclass(frozen=True, kw_only=True)
class Delay(Kind):
    """Time that passes."""

    async def create(self, work: Work) -> None:
        """Let it pass."""
        work.made(work.physical_name)
        await self._pass(work, "CREATE")

    async def delete(self, work: Work) -> None:
        """Let it pass if told so."""
        await self._pass(work, "DELETE")

    async def suspend(self, work: Work) -> None:
        """Let it pass if told so."""
        await self._pass(work, "SUSPEND")

    async def resume(self, work: Work) -> None:
        """Let it pass if told so."""
        await self._pass(work, "RESUME")

    async def _pass(self, work: Work, action: str) -> None:
        if action in work.properties["actions"]:
            most = work.properties["max_jitter"] * work.properties["jitter_multiplier"]
            await work.sleep(work.properties["min_wait"] + secrets.SystemRandom().uniform(0, most))


@dataclass(frozen=True, kw_only=True)
class Config(Kind):
    """A software configuration; its id is that of the stored configuration."""

    async def create(self, work: Work) -> None:
        """Store it."""
        config = SoftwareConfig(
            name=work.physical_name,
            project_id=work.stack.project_id,
            group=self.group(work),
            config=await self.text(work),
            inputs=tuple(work.properties.get("inputs") or ()),
            outputs=tuple(work.properties.get("outputs") or ()),
            options=work.properties.get("options") or {},
        )
        work.made(work.engine.tables.software_configs.add(config).id)

    async def delete(self, work: Work) -> None:
        """Forget it."""
        if work.physical_id:
            work.engine.tables.software_configs.remove(work.physical_id)

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The configuration."""
        config = work.engine.tables.software_configs.peek(work.physical_id)
        return {"config": config.config if config else None}

    def group(self, work: Work) -> str:
        """How it is applied."""
        return str(work.properties.get("group", "Heat::Ungrouped"))

    async def text(self, work: Work) -> Any:
        """What is stored."""
        return work.properties.get("config", "")


@dataclass(frozen=True, kw_only=True)
class SoftwareComponent(Config):
    """Several configurations, each for other actions."""

    async def create(self, work: Work) -> None:
        """Store them.

        Raises:
            ResourceFailed: two are for the same action.
        """
        actions = [action for one in work.properties["configs"] for action in one["actions"]]
        if len(actions) != len(set(actions)):
            raise ResourceFailed(
                "Defining more than one configuration for the same action in SoftwareComponent "
                f'"{work.row.name}" is not allowed.'
            )
        await super().create(work)

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The configurations."""
        config = work.engine.tables.software_configs.peek(work.physical_id)
        return {"configs": config.config["configs"] if config else []}

    def group(self, work: Work) -> str:
        """Each of them by its tool."""
        return COMPONENT

    async def text(self, work: Work) -> Any:
        """The configurations."""
        return {"configs": work.properties["configs"]}


@dataclass(frozen=True, kw_only=True)
class StructuredConfig(Config):
    """A configuration that is a map."""

    async def text(self, work: Work) -> Any:
        """The map."""
        return work.properties.get("config", {})


@dataclass(frozen=True, kw_only=True)
class CloudConfig(Config):
    """A cloud-config document for cloud-init."""

    async def text(self, work: Work) -> Any:
        """The document as YAML after its mark."""
        document = work.properties.get("cloud_config") or {}
        return "#cloud-config\n" + yaml.safe_dump(document)


@dataclass(frozen=True, kw_only=True)
class MultipartMime(Config):
    """Several configurations in one MIME message for cloud-init."""

    async def text(self, work: Work) -> Any:
        """The message."""
        message = MIMEMultipart()
        for part in work.properties.get("parts") or ():
            stored = work.engine.tables.software_configs.peek(part["config"])
            text = str(stored.config) if stored else part["config"]
            subtype = part.get("subtype") or ("cloud-config" if text.startswith("#cloud-config") else "x-shellscript")
            item = MIMEText(text, subtype, "utf-8" if not text.isascii() else "us-ascii")
            if part.get("filename"):
                item.add_header("Content-Disposition", "attachment", filename=part["filename"])
            message.attach(item)
        return message.as_string()
