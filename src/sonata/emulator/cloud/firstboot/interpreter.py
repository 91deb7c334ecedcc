"""From user data to a plan: every part in its stage, what cannot be done said on the console."""

from __future__ import annotations

from dataclasses import replace

import sonata.emulator.cloud.firstboot.parts as parts
import sonata.emulator.cloud.firstboot.templates as templates
from sonata.emulator.cloud.firstboot.cloud_config import Config, compile_config, read_config
from sonata.emulator.cloud.firstboot.instance import Instance
from sonata.emulator.cloud.firstboot.openstack_format import meta_data
from sonata.emulator.cloud.firstboot.parts import Part
from sonata.emulator.cloud.firstboot.plan import Plan, Step, quoted

_REFUSED = {
    parts.INCLUDE: "#include is refused: servers here fetch no user data from elsewhere",
    parts.HANDLER: "#part-handler is refused: there is no cloud-init in which it could run",
}


async def plan_of(instance: Instance) -> Plan:
    """What a server is to do at its boots. Never fails: what is wrong with user data is a warning of the plan."""
    plan = Plan()
    if instance.server.public_key.startswith(("ssh-", "ecdsa-", "sk-")):
        plan.keys.append(instance.server.public_key)
    try:
        found = parts.parts_of(instance.user_data)
    except ValueError as error:
        plan.warn(f"user data is left out: {error}")
        found = []
    config: dict[str, object] = {}
    for number, part in enumerate(found, 1):
        try:
            config.update(await _take(plan, number, await _rendered(part, instance)))
        except ValueError as error:
            plan.warn(f"part {number} ({part.kind}) is left out: {error}")
    compile_config(plan, config)
    _authorise(plan)
    return plan


async def _rendered(part: Part, instance: Instance) -> Part:
    if not part.is_template:
        return part
    text = await templates.render(part.content, templates.variables(meta_data(instance)))
    return replace(part, content=text)


async def _take(plan: Plan, number: int, part: Part) -> Config:
    """Add a part to the plan; what it configures is returned, since later parts replace keys of earlier ones."""
    text = part.content.decode(errors="replace")
    if part.kind == parts.CONFIG:
        return read_config(text)
    if part.kind == parts.BOOTHOOK:
        plan.early_always.insert(
            0, Step("boothook", f"run_script boothooks/part-{number:03} {plan.file(part.content)}")
        )
    elif part.kind == parts.PER_BOOT:
        plan.final_always.append(_script(plan, number, part, "per-boot"))
    elif part.kind in (parts.SCRIPT, parts.PER_INSTANCE, parts.PER_ONCE):
        plan.final.append(_script(plan, number, part, "user"))
    elif part.kind in _REFUSED:
        plan.warn(_REFUSED[part.kind])
    else:
        plan.warn(f"part {number}: neither #cloud-config nor a script; it begins with `{text.strip()[:30]}`")
    return {}


def _script(plan: Plan, number: int, part: Part, folder: str) -> Step:
    return Step(f"scripts_{folder}", f"run_script {quoted(f'scripts/part-{number:03}')} {plan.file(part.content)}")


def _authorise(plan: Plan) -> None:
    """Keys open the default user and root."""
    if plan.keys:
        keys = plan.file("".join(f"{key.strip()}\n" for key in plan.keys))
        plan.early.append(Step("ssh", f"authorize root {keys}"))
        if plan.default_user:
            plan.early.append(Step("ssh", f'default_user && authorize "$DEFAULT_USER" {keys}'))
    plan.early.append(Step("ssh", "host_keys"))
