"""`#cloud-config` as steps, in the order of cloud-init's stages (cloud-init, "Module reference")."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from sonata._lib.later import later
from sonata.emulator.cloud.firstboot.plan import Plan, Step, quoted
from sonata.emulator.cloud.firstboot.ssh import PASSWORDS
from sonata.emulator.cloud.firstboot.written_files import write_files

if TYPE_CHECKING:
    import yaml
else:
    yaml = later("yaml")

MOST_ALIASES = 16
_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}", re.I)
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_:=~/-]*")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]*")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62})")
_RANDOM = frozenset(("R", "RANDOM"))
_DEFAULT_OUTPUT = ({"all": "| tee -a /var/log/cloud-init-output.log"}, None)

Config = Mapping[str, Any]


def read_config(text: str) -> dict[str, Any]:
    """The document of one `#cloud-config`.

    Raises:
        ValueError: it is no YAML mapping.
    """
    document = _read_yaml(text)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError("no YAML mapping")
    return {str(key): value for key, value in document.items()}


def read_archive(text: str) -> list[tuple[str, str]]:
    """The pieces of one `#cloud-config-archive`: each one's content and declared type, empty for none.

    Raises:
        ValueError: it is no list of texts, or of mappings with `content`.
    """
    document = _read_yaml(text)
    if not isinstance(document, list):
        raise ValueError("a #cloud-config-archive needs a list")
    found = [one if isinstance(one, dict) else {"content": one} for one in document]
    return [(str(one.get("content") or ""), str(one.get("type") or "")) for one in found]


@cache
def _bounded_loader() -> type[yaml.SafeLoader]:
    """Safe YAML in which a few aliases cannot stand for a great many values."""

    class BoundedLoader(yaml.SafeLoader):
        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self._aliases = 0

        def compose_node(self, parent: yaml.nodes.Node | None, index: Any) -> yaml.nodes.Node | None:
            if self.check_event(yaml.events.AliasEvent):
                self._aliases += 1
                if self._aliases > MOST_ALIASES:
                    raise yaml.YAMLError(f"more than {MOST_ALIASES} aliases")
            return super().compose_node(parent, index)

    return BoundedLoader


def _read_yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_bounded_loader())  # nosec B506 - derives from SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"no valid YAML: {' '.join(str(error).split())[:200]}") from error


def compile_config(plan: Plan, config: Config) -> None:
    """Add what a configuration wants; what nobody acts on is warned of."""
    for key, compile_key in _ORDER.items():
        if key not in config:
            continue
        try:
            compile_key(plan, config[key], config)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            plan.warn(f"cloud-config `{key}` is left out: {error or type(error).__name__}")
    for key in config:
        if key not in _ORDER and key not in _BESIDE:
            plan.warn(f"cloud-config `{key}`: nothing here acts on it")
    if config.get("output") not in _DEFAULT_OUTPUT:
        plan.warn("cloud-config `output`: goes to the console and /var/log/cloud-init-output.log here")


def commands_script(commands: Any) -> str:
    """A list of commands as one script: texts are lines of shell, lists are words.

    Raises:
        ValueError: it is no such list.
    """
    if isinstance(commands, str):
        commands = [commands]
    if not isinstance(commands, list):
        raise ValueError("a list of commands is needed")
    lines = ["#!/bin/sh"]
    for command in commands:
        if isinstance(command, list):
            lines.append(quoted(*command))
        elif isinstance(command, str):
            lines.append(command)
        elif command is not None:
            raise ValueError(f"`{command}` is no command")
    return "\n".join(lines) + "\n"


def _bootcmd(plan: Plan, value: Any, _config: Config) -> None:
    plan.early_always.append(Step("bootcmd", f"/bin/sh {plan.file(commands_script(value))}"))


def _runcmd(plan: Plan, value: Any, _config: Config) -> None:
    plan.final.append(Step("runcmd", f"/bin/sh {plan.file(commands_script(value))}"))


def _host_name(plan: Plan, value: Any, config: Config) -> None:
    if config.get("preserve_hostname") is True:
        return
    host, _, domain = str(value).partition(".")
    if not _HOST_NAME.fullmatch(host) or not _DOMAIN.fullmatch(domain):
        raise ValueError(f"`{value}` is no host name")
    plan.host_name, plan.domain = host, domain or plan.domain


def _fqdn(plan: Plan, value: Any, config: Config) -> None:
    if config.get("prefer_fqdn_over_hostname") is False and plan.host_name:
        domain = str(value).partition(".")[2]
        if not _DOMAIN.fullmatch(domain):
            raise ValueError(f"`{value}` is no host name")
        plan.domain = domain
        return
    _host_name(plan, value, config)


def _etc_hosts(plan: Plan, value: Any, _config: Config) -> None:
    if value in (True, "true", "template", "localhost"):
        host, domain = plan.host_name or "$(hostname)", plan.domain
        names = f"{host}.{domain} {host}" if domain else host
        lines = f'printf "127.0.1.1\\t%s\\n127.0.0.1\\tlocalhost\\n::1\\tip6-localhost ip6-loopback\\n" "{names}"'
        plan.early_always.append(Step("update_etc_hosts", f"{lines} > /etc/hosts"))


def _keys(plan: Plan, value: Any, _config: Config) -> None:
    plan.keys += _texts(value)


def _users(plan: Plan, value: Any, _config: Config) -> None:
    entries = value if isinstance(value, list) else [value]
    plan.default_user = "default" in entries
    for entry in entries:
        if isinstance(entry, str) and entry != "default":
            _user(plan, {"name": entry})
        elif isinstance(entry, dict) and entry.get("name") != "default":
            _user(plan, entry)


_USER_OPTIONS = (
    ("gecos", "--comment"), ("homedir", "--home-dir"), ("primary_group", "--gid"), ("shell", "--shell"),
    ("uid", "--uid"), ("expiredate", "--expiredate"), ("inactive", "--inactive"), ("hashed_passwd", "--password"),
    ("passwd", "--password"),
)  # fmt: skip
_USER_FLAGS = (("system", "--system"), ("no_user_group", "--no-user-group"), ("no_log_init", "--no-log-init"))
_PASSWORDS = frozenset(("passwd", "hashed_passwd", "plain_text_passwd"))
_USER_BESIDE = frozenset(("name", "groups", "no_create_home", "ssh_authorized_keys", "sudo", "lock_passwd",
                          "plain_text_passwd", "create_groups"))  # fmt: skip


def _user(plan: Plan, entry: Config) -> None:
    name = str(entry.get("name", ""))
    if not _NAME.fullmatch(name):
        raise ValueError(f"`{name}` is no user name")
    groups = entry.get("groups") or []
    groups = [part.strip() for part in groups.split(",")] if isinstance(groups, str) else list(map(str, groups))
    locked = entry.get("lock_passwd", True) is not False
    if locked and _PASSWORDS & entry.keys():
        plan.warn(f"cloud-config user `{name}`: its password opens nothing, as `lock_passwd: false` is not said")
    asked = {key: value for key, value in entry.items() if not (locked and key in _PASSWORDS)}
    options = [word for key, option in _USER_OPTIONS if asked.get(key) is not None for word in (option, asked[key])]
    options += [option for key, option in _USER_FLAGS if entry.get(key)]
    options += ["--groups", ",".join(groups)] if groups else []
    options.append("--no-create-home" if entry.get("no_create_home") or entry.get("system") else "--create-home")
    lines = [f"group {quoted(group)}" for group in groups if entry.get("create_groups", True)]
    lines.append(f"user {quoted(name, *options)}")
    if password := asked.get("plain_text_passwd"):
        lines.append(f"chpasswd < {plan.file(_lines([f'{name}:{password}']))}")
    elif not locked and not _PASSWORDS & entry.keys():
        lines.append(f"passwd -d {quoted(name)} >/dev/null")
    if keys := entry.get("ssh_authorized_keys"):
        lines.append(f"authorize {quoted(name)} {plan.file(_lines(_texts(keys)))}")
    lines += [f"sudo_rule {quoted(f'{name} {rule}')}" for rule in _rules(entry.get("sudo"))]
    plan.early.append(Step("users_groups", " && ".join(lines)))
    known = {key for key, _ in (*_USER_OPTIONS, *_USER_FLAGS)} | _USER_BESIDE
    for key in sorted(entry.keys() - known):
        plan.warn(f"cloud-config user `{name}`: nothing here acts on `{key}`")


def _rules(sudo: Any) -> list[str]:
    return [] if sudo in (None, False, "") else _texts(sudo)


def _groups(plan: Plan, value: Any, _config: Config) -> None:
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        named = entry if isinstance(entry, dict) else {str(name).strip(): [] for name in str(entry).split(",")}
        for name, members in named.items():
            lines = [f"group {quoted(name)}", *(f"usermod -a -G {quoted(name, one)}" for one in _texts(members or []))]
            plan.early.append(Step("users_groups", " && ".join(lines)))


def _password(plan: Plan, value: Any, _config: Config) -> None:
    hashed = "-e" if str(value).startswith("$") else ""
    entry = plan.file(f"{value}\n")
    line = f'printf "%s:" "$DEFAULT_USER" | cat - {entry} | chpasswd {hashed}'
    plan.early.append(Step("set_passwords", f"default_user && {line}"))


def _chpasswd(plan: Plan, value: Any, _config: Config) -> None:
    listed = value.get("list") or []
    entries = listed.splitlines() if isinstance(listed, str) else _texts(listed)
    pairs = [tuple(entry.split(":", 1)) for entry in entries if ":" in entry]
    for user in value.get("users") or []:
        kind = user.get("type", "hash")
        pairs.append((str(user["name"]), "R" if kind == "RANDOM" else str(user["password"])))
    for name, password in pairs:
        if password in _RANDOM:
            password = secrets.token_urlsafe(12)
            plan.early.append(Step("set_passwords", f"say {quoted(f'random password of {name}: {password}')}"))
        hashed = "-e" if password.startswith("$") else ""
        plan.early.append(Step("set_passwords", f"chpasswd {hashed} < {plan.file(_lines([f'{name}:{password}']))}"))
        if value.get("expire", True):
            plan.early.append(Step("set_passwords", f"expire {quoted(name)}"))


def _ssh_pwauth(plan: Plan, value: Any, _config: Config) -> None:
    if value not in PASSWORDS:
        raise ValueError(f"`{value}` is neither true nor false")
    plan.early.append(Step("set_passwords", f"sshd_setting PasswordAuthentication {PASSWORDS[value]}"))


def _timezone(plan: Plan, value: Any, _config: Config) -> None:
    zone = quoted(f"/usr/share/zoneinfo/{value}")
    if ".." in str(value):
        raise ValueError(f"`{value}` is no time zone")
    plan.early.append(
        Step("timezone", f"[ -f {zone} ] && ln -sf {zone} /etc/localtime && echo {quoted(value)} > /etc/timezone")
    )


def _software(plan: Plan, _value: Any, config: Config) -> None:
    """One step for all that is asked of packages; an unreachable mirror is met once."""
    names = [_package(one) for one in config.get("packages") or []]
    wanted = [("update", True), ("upgrade", config.get("package_upgrade")), (quoted("install", *names), names)]
    calls = [f"packages {what}" for what, is_wanted in wanted if is_wanted]
    if (len(calls) > 1 or config.get("package_update")) and not plan.packages:
        # What is at hand already is installed even where a mirror is not reached.
        plan.packages.append(Step("package_update_upgrade_install", ("; " if names else " && ").join(calls)))


def _package(asked: Any) -> str:
    name = "=".join(map(str, asked)) if isinstance(asked, list) else str(asked)
    if not _PACKAGE.fullmatch(name):
        raise ValueError(f"`{name}` is no name of a package")
    return name


def _final_message(plan: Plan, value: Any, _config: Config) -> None:
    text = re.sub(r"\$\{?(version|timestamp|datasource|uptime|hostname)\}?", _message_word, str(value))
    plan.final_always.append(Step("final_message", f"cat {plan.file(text)}; echo"))


def _message_word(found: re.Match[str]) -> str:
    words = {"version": "sonata", "datasource": "DataSourceOpenStack"}
    return words.get(found[1], "")


def _write_files(plan: Plan, value: Any, _config: Config) -> None:
    write_files(plan, value)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("a list of texts is needed")
    return list(value)


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"{text.strip()}\n" for text in texts)


Compile = Callable[[Plan, Any, Config], None]
_ORDER: Mapping[str, Compile] = {
    "bootcmd": _bootcmd,
    "write_files": _write_files,
    "hostname": _host_name,
    "fqdn": _fqdn,
    "manage_etc_hosts": _etc_hosts,
    "groups": _groups,
    "users": _users,
    "user": lambda plan, value, config: _users(plan, ["default", value], config),
    "ssh_authorized_keys": _keys,
    "password": _password,
    "chpasswd": _chpasswd,
    "ssh_pwauth": _ssh_pwauth,
    "timezone": _timezone,
    "package_update": _software,
    "package_upgrade": _software,
    "packages": _software,
    "runcmd": _runcmd,
    "final_message": _final_message,
}
"""What is acted on, in the order of cloud-init's stages."""

_BESIDE = frozenset((
    "preserve_hostname", "prefer_fqdn_over_hostname", "output", "disable_root", "allow_public_ssh_keys",
    "ssh_deletekeys", "ssh_genkeytypes", "ssh_keys", "ssh",
))  # fmt: skip
"""Looked at by others, or without any difference here."""
