"""The configuration file of HAProxy for a plan: a pure function.

Source: HAProxy 2.6 configuration manual. Each pool is a backend of its own for each listener that uses it, since
timeouts towards members belong to listeners: `POOL:LISTENER`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sonata.ports.load_balancing import Backend, Check, Frontend, Persistence, Plan, Policy, Rule, Target

FOLDER = "/run/balancer"
"""Where the appliance sees its configuration and sockets."""

UID = 1000
NO_FRONTEND = Frontend(id="", protocol="", port=0)
HTTP = frozenset(("HTTP",))
ALGORITHMS = {"ROUND_ROBIN": "roundrobin", "LEAST_CONNECTIONS": "leastconn", "SOURCE_IP": "source"}
SEND_PROXY = {"PROXY": "send-proxy", "PROXYV2": "send-proxy-v2"}
MATCHES = {"REGEX": "reg", "STARTS_WITH": "beg", "ENDS_WITH": "end", "CONTAINS": "sub", "EQUAL_TO": "str"}
FETCHES = {"HOST_NAME": "req.hdr(host)", "PATH": "path", "FILE_TYPE": "path,field(-1,.)"}
KEYED_FETCHES = {"HEADER": "req.hdr", "COOKIE": "req.cook"}
FORWARDED = {"X-Forwarded-Port": "%[dst_port]", "X-Forwarded-Proto": "http"}
EARLY = ("REJECT", "REDIRECT_TO_URL", "REDIRECT_PREFIX")
"""Actions that end a request; they go before any choice of a pool, as the Load Balancer API says."""


def render(plan: Plan, *, drops_privileges: bool) -> str:
    """The whole file.

    Args:
        plan: what is to be served; no word in it holds a control character.
        drops_privileges: whether workers run as another user than the master.
    """
    lines = list(_global(drops_privileges))
    frontends = plan.frontends if plan.enabled else ()
    for frontend in frontends:
        lines += ["", f"frontend {frontend.id}", *_indented(_frontend(plan, frontend))]
    for backend in plan.backends:
        for frontend in _users(frontends, backend) or [NO_FRONTEND]:
            lines += ["", f"backend {backend_name(backend.id, frontend)}", *_indented(_backend(backend, frontend))]
    return "\n".join(lines) + "\n"


def backend_name(backend_id: str, frontend: Frontend) -> str:
    """A pool's name for one listener."""
    return f"{backend_id}:{frontend.id or 'none'}"


def quoted(word: str) -> str:
    """One word of the file, whatever is in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def _global(drops_privileges: bool) -> Iterator[str]:
    yield "global"
    yield from _indented(
        [
            "log stdout format raw local0 notice",
            f"stats socket {FOLDER}/stats.sock mode 600 level admin",
            f"server-state-file {FOLDER}/servers.state",
            "nbthread 1",
            "maxconn 8000",
            "no strict-limits",
            "hard-stop-after 5m",
            "external-check",
            "insecure-fork-wanted",
            *([f"uid {UID}", f"gid {UID}"] if drops_privileges else []),
        ]
    )
    yield "defaults"
    yield from _indented(
        [
            "log global",
            "load-server-state-from-file global",
            "option redispatch",
            "retries 3",
            "timeout connect 5000",
            "timeout client 50000",
            "timeout server 50000",
        ]
    )


def _frontend(plan: Plan, frontend: Frontend) -> Iterator[str]:
    yield f"mode {_mode(frontend.protocol)}"
    yield f"bind {plan.vip}:{frontend.port}"
    yield f"timeout client {frontend.client_timeout_ms}"
    if frontend.connection_limit:
        yield f"maxconn {frontend.connection_limit}"
    if frontend.allowed:
        yield f"tcp-request connection reject if !{{ src {' '.join(map(str, frontend.allowed))} }}"
    if frontend.inspect_ms:
        yield f"tcp-request inspect-delay {frontend.inspect_ms}"
        if frontend.protocol not in HTTP:
            # A delay alone does nothing: something must look at what comes.
            yield "tcp-request content accept if { req.len gt 0 }"
    if frontend.protocol in HTTP:
        yield from _headers(frontend)
        yield from _policies(frontend)
    if frontend.backend:
        yield f"default_backend {backend_name(frontend.backend, frontend)}"


def _headers(frontend: Frontend) -> Iterator[str]:
    for name, wanted in sorted(frontend.headers.items()):
        if wanted.lower() != "true":
            continue
        if name == "X-Forwarded-For":
            yield "option forwardfor"
        else:
            yield f"http-request set-header {name} {FORWARDED[name]}"


def _policies(frontend: Frontend) -> Iterator[str]:
    policies = [policy for policy in frontend.policies if policy.rules]
    for policy in policies:
        for index, rule in enumerate(policy.rules):
            yield f"acl {_acl(policy, index)} {_condition(rule)}"
    for policy in sorted(policies, key=lambda policy: policy.action not in EARLY):
        names = (f"{'!' if rule.invert else ''}{_acl(policy, index)}" for index, rule in enumerate(policy.rules))
        yield f"{_action(policy, frontend)} if {' '.join(names)}"


def _acl(policy: Policy, index: int) -> str:
    return f"{policy.id}.{index}"


def _condition(rule: Rule) -> str:
    fetch = FETCHES.get(rule.type) or f"{KEYED_FETCHES[rule.type]}({rule.key})"
    anycase = " -i" if rule.type in ("HOST_NAME", "FILE_TYPE") else ""
    return f"{quoted(fetch)}{anycase} -m {MATCHES[rule.compare]} -- {quoted(rule.value)}"


def _action(policy: Policy, frontend: Frontend) -> str:
    literal = quoted(policy.target.replace("%", "%%"))
    match policy.action:
        case "REJECT":
            return "http-request deny"
        case "REDIRECT_TO_URL":
            return f"http-request redirect code {policy.code} location {literal}"
        case "REDIRECT_PREFIX":
            return f"http-request redirect code {policy.code} prefix {literal}"
        case _:
            return f"use_backend {backend_name(policy.target, frontend)}"


def _backend(backend: Backend, frontend: Frontend) -> Iterator[str]:
    yield f"mode {_mode(backend.protocol)}"
    yield f"balance {ALGORITHMS[backend.algorithm]}"
    if backend.algorithm == "SOURCE_IP":
        yield "hash-type consistent"
    if frontend is not NO_FRONTEND:
        yield f"timeout connect {frontend.connect_timeout_ms}"
        yield f"timeout server {frontend.member_timeout_ms}"
    if backend.persistence:
        yield from _persistence(backend.persistence)
    if backend.check:
        yield from _check(backend.check)
    for target in backend.targets:
        yield " ".join(_server(backend, target))


def _persistence(persistence: Persistence) -> Iterable[str]:
    expire = f" expire {persistence.timeout_s}s" if persistence.timeout_s else ""
    match persistence.type:
        case "HTTP_COOKIE":
            return ["cookie SRV insert indirect nocache"]
        case "APP_COOKIE":
            cookie = quoted(f"req.cook({persistence.cookie})")
            answer = quoted(f"res.cook({persistence.cookie})")
            table = f"stick-table type string len 64 size 10k{expire}"
            return [table, f"stick store-response {answer}", f"stick match {cookie}"]
        case _:
            return [f"stick-table type ip size 10k{expire}", "stick on src"]


def _check(check: Check) -> Iterator[str]:
    yield f"timeout check {check.timeout_s}s"
    match check.type:
        case "HTTP" | "HTTPS":
            host = f" hdr Host {quoted(check.domain)}" if check.domain else ""
            yield "option httpchk"
            yield f"http-check send meth {check.method} uri {quoted(check.path)} ver HTTP/{check.version}{host}"
            yield f"http-check expect rstatus {quoted('^(' + '|'.join(expected_codes(check.codes)) + ')$')}"
        case "TLS-HELLO":
            yield "option ssl-hello-chk"
        case "PING":
            yield "option external-check"
            yield "external-check path /usr/bin:/bin:/usr/sbin:/sbin"
            yield f"external-check command {FOLDER}/ping"
        case _:
            yield "option tcp-check"


def _server(backend: Backend, target: Target) -> Iterator[str]:
    yield f"server {target.id} {target.address}:{target.port} weight {target.weight}"
    if backend.check:
        check = backend.check
        yield f"check inter {check.delay_s}s fall {check.fall} rise {check.rise}"
        if check.type == "HTTPS":
            yield "check-ssl verify none"
        if target.monitor_address:
            yield f"addr {target.monitor_address}"
        if target.monitor_port:
            yield f"port {target.monitor_port}"
    if backend.persistence and backend.persistence.type == "HTTP_COOKIE":
        yield f"cookie {target.id}"
    if backend.protocol in SEND_PROXY:
        yield SEND_PROXY[backend.protocol]
    if target.backup:
        yield "backup"
    if not target.enabled:
        yield "disabled"


def expected_codes(text: str) -> list[str]:
    """`200,202` or `200-204` as single codes."""
    if "-" in text:
        first, last = map(int, text.split("-"))
        return [str(code) for code in range(first, last + 1)]
    return [code.strip() for code in text.split(",")]


def _users(frontends: Sequence[Frontend], backend: Backend) -> list[Frontend]:
    """The frontends that lead to a backend."""
    return [
        frontend
        for frontend in frontends
        if backend.id == frontend.backend
        or any(policy.action == "REDIRECT_TO_POOL" and policy.target == backend.id for policy in frontend.policies)
    ]


def _mode(protocol: str) -> str:
    return "http" if protocol in HTTP else "tcp"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)
