"""From user data to a plan: every part in its stage, what cannot be done said on the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sonata.emulator.cloud.firstboot.parts as parts
import sonata.emulator.cloud.firstboot.ssh as ssh
import sonata.emulator.cloud.firstboot.templates as templates
from sonata.emulator.cloud.firstboot.cloud_config import Config, compile_config, read_archive, read_config
from sonata.emulator.cloud.firstboot.instance import Instance
from sonata.emulator.cloud.firstboot.openstack_format import meta_data
from sonata.emulator.cloud.firstboot.parts import Part
from sonata.emulator.cloud.firstboot.plan import Plan, Step, quoted

_REFUSED = {
    parts.INCLUDE: "#include is refused: servers here fetch no user data from elsewhere",
    parts.HANDLER: "#part-handler is refused: there is no cloud-init in which it could run",
}
_SCRIPTS = (parts.SCRIPT, parts.PER_INSTANCE, parts.PER_ONCE, parts.PER_BOOT)
_STARTS = (b"#!", b"\x7fELF")
_SHOWN = 30


async def plan_of(instance: Instance) -> Plan:
    """What a server is to do at its boots. Never fails: what is wrong with user data is a warning of the plan."""
    plan = Plan()
    config: dict[str, object] = {}
    for number, part in enumerate(_parts(plan, instance.user_data), 1):
        try:
            config.update(await _take(plan, number, await _rendered(plan, part, instance)))
        except ValueError as error:
            plan.warn(f"part {number} ({part.kind}) is left out: {error}")
    own_key = instance.server.public_key
    if own_key.startswith(("ssh-", "ecdsa-", "sk-")) and config.get("allow_public_ssh_keys") is not False:
        plan.keys.append(own_key)
    compile_config(plan, config)
    ssh.let_in(plan, config)
    ssh.host_keys(plan, config)
    return plan


def _parts(plan: Plan, user_data: bytes) -> Sequence[Part]:
    """The pieces of user data; those of archives in their place."""
    try:
        found = [one for part in parts.parts_of(user_data) for one in _unpacked(part)]
        parts.refuse_too_many(found)
    except ValueError as error:
        plan.warn(f"user data is left out: {error}")
        return ()
    return found


def _unpacked(part: Part) -> Sequence[Part]:
    if part.kind != parts.ARCHIVE:
        return (part,)
    listed = read_archive(part.content.decode(errors="replace"))
    return [parts.part_of(content.encode(errors="replace"), kind) for content, kind in listed]


async def _rendered(plan: Plan, part: Part, instance: Instance) -> Part:
    if not part.is_template:
        return part
    text = await templates.render(part.content, templates.variables(meta_data(instance)))
    if missing := sorted(templates.missing_in(text)):
        plan.warn(f"a template names what is not known here: {', '.join(missing)}")
    return replace(part, content=text)


async def _take(plan: Plan, number: int, part: Part) -> Config:
    """Add a part to the plan; what it configures is returned, since later parts replace keys of earlier ones."""
    if part.kind == parts.CONFIG:
        return read_config(part.content.decode(errors="replace"))
    if part.kind == parts.BOOTHOOK:
        hook = plan.file(_unix(parts.without_mark(part.content, parts.BOOTHOOK_MARK)))
        plan.early_always.insert(0, Step("boothook", f"run_script boothooks/part-{number:03} {hook}"))
    elif part.kind in _SCRIPTS:
        _script(plan, number, part)
    elif part.kind in _REFUSED:
        plan.warn(_REFUSED[part.kind])
    else:
        start = part.content.decode(errors="replace").strip()[:_SHOWN]
        plan.warn(f"part {number}: neither #cloud-config nor a script; it begins with `{start}`")
    return {}


def _script(plan: Plan, number: int, part: Part) -> None:
    """Add a script to its stage.

    Raises:
        ValueError: it names no interpreter.
    """
    if not part.content.startswith(_STARTS):
        raise ValueError("a script begins with `#!` and its interpreter")
    is_for_boots = part.kind == parts.PER_BOOT
    name = f"scripts/part-{number:03}"
    step = Step("scripts_per-boot" if is_for_boots else "scripts_user",
                f"run_script {quoted(name)} {plan.file(_unix(part.content))}")  # fmt: skip
    (plan.final_always if is_for_boots else plan.final).append(step)


def _unix(script: bytes) -> bytes:
    """A script with the line ends that interpreters know; a program is left as it is."""
    return script if script.startswith(_STARTS[1]) else script.replace(b"\r\n", b"\n")
