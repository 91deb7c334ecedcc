"""Who may log in by ssh, and by which keys servers are known: the ssh parts of `#cloud-config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonata.emulator.cloud.firstboot.plan import Plan, Step, quoted

_KINDS = ("ecdsa", "ed25519", "rsa")
_SHOWN_KINDS = ", ".join(f"`{kind}`" for kind in _KINDS)
PASSWORDS = {True: "yes", "yes": "yes", "true": "yes", False: "no", "no": "no", "false": "no"}


def let_in(plan: Plan, config: Mapping[str, Any]) -> None:
    """Have keys open the default user and, unless that is forbidden, root."""
    if not plan.keys:
        return
    keys = plan.file("".join(f"{key.strip()}\n" for key in plan.keys))
    if config.get("disable_root") is not True:
        plan.early.append(Step("ssh", f"authorize root {keys}"))
    if plan.default_user:
        plan.early.append(Step("ssh", f'default_user && authorize "$DEFAULT_USER" {keys}'))


def host_keys(plan: Plan, config: Mapping[str, Any]) -> None:
    """Have the server get host keys of its own, or those that it is given; an image's are everybody's."""
    given = _given(plan, config.get("ssh_keys") or {})
    kinds = _kinds(plan, config.get("ssh_genkeytypes"))
    age = "kept" if config.get("ssh_deletekeys", True) is False else "anew"
    wish = config.get("ssh")
    shown = "hide" if isinstance(wish, dict) and wish.get("emit_keys_to_console") is False else "show"
    if given:
        plan.early.append(Step("ssh", f"given_host_keys {age} {shown} {quoted(*given)}"))
    else:
        plan.early.append(Step("ssh", f"host_keys {age} {shown} {quoted(*kinds)}".rstrip()))


def _given(plan: Plan, asked: Any) -> list[str]:
    """Names of host key files and where their content is, in turn."""
    if not isinstance(asked, dict):
        plan.warn("cloud-config `ssh_keys` is left out: a mapping such as `ed25519_private: ...` is needed")
        return []
    words = []
    for name, content in asked.items():
        kind, _, half = str(name).partition("_")
        if kind not in _KINDS or half not in ("private", "public"):
            plan.warn(f"cloud-config `ssh_keys`: nothing here acts on `{name}`")
            continue
        words += [f"ssh_host_{kind}_key{'.pub' if half == 'public' else ''}", plan.kept(f"{str(content).strip()}\n")]
    return words


def _kinds(plan: Plan, asked: Any) -> list[str]:
    wanted = asked if isinstance(asked, list) else [] if asked is None else [asked]
    for kind in wanted:
        if kind not in _KINDS:
            plan.warn(f"cloud-config `ssh_genkeytypes`: `{kind}` is none of {_SHOWN_KINDS}")
    return [kind for kind in wanted if kind in _KINDS]
