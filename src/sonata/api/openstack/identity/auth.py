"""Tokens: how they are got, shown and revoked, and what one may be scoped to.

Source: OpenStack Identity API v3 reference, authentication and token management.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call, inner
from sonata.api.openstack.faults import Forbidden
from sonata.api.openstack.identity import bodies
from sonata.api.openstack.identity.documents import DOMAIN, NO_EXPIRY, listed, precise, project_document
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.entities.identity import ApplicationCredential, Project, User
from sonata.emulator.cloud.identity import DOMAIN_ID, DOMAIN_NAME, passwords
from sonata.emulator.cloud.identity.assignments import SYSTEM
from sonata.emulator.cloud.identity.secrets import same_secret
from sonata.emulator.cloud.identity.tokens import REQUIRED, UNSCOPED, Scope, Token
from sonata.errors import InvalidInput, Unauthorised

Catalog = Callable[[Call, str], list[Document]]
"""The service catalog for a project, by its id."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """Who has proved to be whom, how, and with what."""

    user: User
    methods: tuple[str, ...]
    parent: Token | None = None
    credential: ApplicationCredential | None = None


TOPIC = Topic(
    "tokens",
    Truth(
        real=(
            "by password, token or application credential, several at once too; for a project, the domain, "
            "the system, or nothing yet",
            "good for 4 hours and for one PoP; they outlive the death of the keeper, and each use finds out "
            "anew what they may do",
            "a revoked token, a changed password, a role taken away or a disabled user or project takes effect at once",
        ),
        refused=(
            "other ways to authenticate (401); trusts, federation, OAuth and EC2 credentials are not there (404)",
        ),
    ),
)


class TokenDesk:
    """Issues, shows and revokes tokens, and changes passwords."""

    def __init__(self, admin_password: str, catalog: Catalog) -> None:
        self._admin_password = admin_password
        self._catalog = catalog
        self._methods: Mapping[str, Callable[[Call, Any], Awaitable[_Proof]]] = {
            "password": self._by_password,
            "token": self._by_token,
            "application_credential": self._by_credential,
        }

    def register(self, routes: Routes) -> None:
        """Add the routes."""
        routes.about(TOPIC)
        routes.add("POST", "/v3/auth/tokens", self.issue, public=True, body=bodies.AUTH)
        routes.add("GET", "/v3/auth/tokens", self.show, needs="any")
        routes.add("DELETE", "/v3/auth/tokens", self.revoke, needs="any")
        routes.add("GET", "/v3/auth/projects", _projects, needs="any")
        routes.add("GET", "/v3/auth/domains", _domains, needs="any")
        routes.add("GET", "/v3/auth/system", _system, needs="any")
        routes.add("POST", "/v3/users/{id}/password", self.change_password, public=True, body=bodies.PASSWORD_CHANGE)

    async def issue(self, call: Call) -> Reply:
        """POST /v3/auth/tokens."""
        auth = await call.member("auth")
        proof = await self._authenticate(call, inner(auth, "identity"))
        scope = _scope(call, auth.get("scope"), proof)
        secret, token = call.cloud.identity.tokens.issue(
            proof.user, scope, proof.methods, proof.parent, proof.credential
        )
        return json_reply(self._document(call, token), 201, x_subject_token=secret, vary="X-Auth-Token")

    async def show(self, call: Call) -> Reply:
        """GET and HEAD /v3/auth/tokens."""
        secret, token = _subject(call)
        return json_reply(self._document(call, token), x_subject_token=secret, vary="X-Auth-Token")

    async def revoke(self, call: Call) -> Reply:
        """DELETE /v3/auth/tokens."""
        _secret, token = _subject(call)
        call.cloud.identity.tokens.revoke(token)
        return NO_CONTENT

    async def change_password(self, call: Call) -> Reply:
        """POST /v3/users/{id}/password: the old password is the proof, no token is needed."""
        body = await call.member("user")
        old, new = body.get("original_password"), body.get("password")
        if not isinstance(old, str) or not isinstance(new, str):
            raise InvalidInput("Invalid input: `original_password` and `password` are needed")
        user = call.cloud.tables.users.peek(call.params["id"])
        if not await self._is_password(call, user, old) or user is None:
            raise Unauthorised(REQUIRED)
        if user.id == call.cloud.identity.admin.id:
            raise Forbidden("the password of `admin` is the emulation's own and stays: see `sonata emu openrc`")
        call.cloud.identity.directory.update_user(user.id, password_hash=await passwords.hashed(new))
        return NO_CONTENT

    async def _authenticate(self, call: Call, identity: Mapping[str, Any]) -> _Proof:
        methods = identity.get("methods")
        if not isinstance(methods, list) or not methods:
            raise InvalidInput("Invalid input: `auth.identity.methods` must name at least one method")
        proofs = []
        for method in dict.fromkeys(map(str, methods)):
            if method not in self._methods:
                raise Unauthorised(f"Attempted to authenticate with an unsupported method: {method}")
            proofs.append(await self._methods[method](call, inner(identity, method)))
        if len({proof.user.id for proof in proofs}) > 1:
            raise Unauthorised(REQUIRED)
        together = tuple(dict.fromkeys(method for proof in proofs for method in proof.methods))
        parent = next((proof.parent for proof in proofs if proof.parent), None)
        credential = next((proof.credential for proof in proofs if proof.credential), None)
        return replace(proofs[0], methods=together, parent=parent, credential=credential)

    async def _by_password(self, call: Call, asked: Any) -> _Proof:
        wanted = inner(asked, "user")
        user = _named_user(call, wanted)
        if not await self._is_password(call, user, wanted.get("password")) or user is None or not user.enabled:
            raise Unauthorised(REQUIRED)
        return _Proof(user, ("password",))

    async def _is_password(self, call: Call, user: User | None, given: object) -> bool:
        """Whether a password is a user's; what is wrong does not show in how long it takes."""
        if user is not None and user.id == call.cloud.identity.admin.id:
            return same_secret(given, self._admin_password)
        return await passwords.matches(user.password_hash if user else "", given if isinstance(given, str) else "")

    async def _by_token(self, call: Call, asked: Any) -> _Proof:
        token = call.cloud.identity.tokens.check(str(asked.get("id")))
        if token.credential:
            raise Unauthorised("a token of an application credential cannot get another one")
        return _Proof(token.user, ("token", *token.methods), parent=token)

    async def _by_credential(self, call: Call, asked: Any) -> _Proof:
        credential = _named_credential(call, asked)
        right = await call.cloud.identity.credentials.matches(credential, str(asked.get("secret") or ""))
        user = call.cloud.tables.users.peek(credential.user_id) if credential else None
        if not right or user is None or not user.enabled:
            raise Unauthorised(REQUIRED)
        return _Proof(user, ("application_credential",), credential=credential)

    def _document(self, call: Call, token: Token) -> Document:
        """A token as Keystone shows it."""
        document: Document = {
            "methods": list(token.methods),
            "user": {"id": token.user.id, "name": token.user.name, "domain": DOMAIN, **NO_EXPIRY},
            "audit_ids": list(token.audit_ids),
            "expires_at": precise(token.expires_at),
            "issued_at": precise(token.issued_at),
        }
        document.update(_scope_document(token))
        if token.scope.kind != "unscoped":
            named = {role.name: role.id for role in call.cloud.tables.roles}
            document["roles"] = [{"id": named[role], "name": role} for role in token.roles if role in named]
            if "nocatalog" not in call.request.query_params:
                document["catalog"] = self._catalog(call, token.project.id if token.project else "")
        if token.credential:
            restricted = not token.credential.unrestricted
            shown = {"id": token.credential.id, "name": token.credential.name, "restricted": restricted}
            document["application_credential"] = shown
        return {"token": document}


def _scope_document(token: Token) -> Document:
    if token.project:
        return {
            "project": {"id": token.project.id, "name": token.project.name, "domain": DOMAIN},
            "is_domain": False,
        }
    if token.scope.kind == "domain":
        return {"domain": DOMAIN}
    return {"system": {"all": True}} if token.scope.kind == "system" else {}


def _named_user(call: Call, asked: Mapping[str, Any]) -> User | None:
    if "id" in asked:
        return call.cloud.tables.users.peek(str(asked["id"]))
    named = (user for user in call.cloud.tables.users if user.name == asked.get("name"))
    return next(named, None) if is_default_domain(asked.get("domain")) else None


def _named_credential(call: Call, asked: Mapping[str, Any]) -> ApplicationCredential | None:
    """A credential by its id, or by its name and its user."""
    if "id" in asked:
        return call.cloud.tables.application_credentials.peek(str(asked["id"]))
    user = _named_user(call, inner(asked, "user"))
    own = call.cloud.identity.credentials.of_user(user.id) if user else ()
    return next((credential for credential in own if credential.name == asked.get("name")), None)


def is_default_domain(asked: Any) -> bool:
    """Whether `{id}` or `{name}` mean the only domain."""
    return isinstance(asked, dict) and (asked.get("id") == DOMAIN_ID or asked.get("name") == DOMAIN_NAME)


def _scope(call: Call, asked: Any, proof: _Proof) -> Scope:
    """What a token is to be for; without a wish the credential's or the user's own project, if there is one."""
    if proof.credential:
        return _credential_scope(asked, proof.credential)
    if asked is None:
        own = proof.user.project_id
        usable = own and call.cloud.identity.assignments.roles_of(proof.user.id, "project", own)
        project = call.cloud.tables.projects.peek(own) if usable else None
        return Scope("project", own) if project and project.enabled else UNSCOPED
    if asked == "unscoped" or (isinstance(asked, dict) and "unscoped" in asked):
        return UNSCOPED
    if not isinstance(asked, dict) or len(asked) != 1:
        raise InvalidInput("Invalid input: `auth.scope` must name one of project, domain, system, unscoped")
    ((kind, wanted),) = asked.items()
    if kind == "project":
        return Scope("project", _named_project(call, inner(asked, "project")).id)
    if kind == "domain" and is_default_domain(wanted):
        return Scope("domain", DOMAIN_ID)
    if kind == "system" and isinstance(wanted, dict) and wanted.get("all") is True:
        return Scope("system", SYSTEM)
    raise Unauthorised(REQUIRED)


def _credential_scope(asked: Any, credential: ApplicationCredential) -> Scope:
    if asked is not None and not (
        isinstance(asked, dict) and asked.get("project", {}) == {"id": credential.project_id}
    ):
        raise Unauthorised("Application credentials cannot request a scope.")
    return Scope("project", credential.project_id)


def _named_project(call: Call, asked: Mapping[str, Any]) -> Project:
    for project in call.cloud.tables.projects:
        by_name = project.name == asked.get("name") and is_default_domain(asked.get("domain"))
        if project.enabled and (asked["id"] == project.id if "id" in asked else by_name):
            return project
    raise Unauthorised(REQUIRED)


def _subject(call: Call) -> tuple[str, Token]:
    """The token that is asked about: one's own, or as administrator any."""
    secret = call.request.headers.get("x-subject-token", "")
    if not secret:
        raise InvalidInput("the header X-Subject-Token is needed")
    token = call.cloud.identity.tokens.subject(secret)
    if token.user.id != call.token.user.id:
        call.require_admin("identity:validate_token")
    return secret, token


async def _projects(call: Call) -> Reply:
    """The projects that the caller may get a token for."""
    own = call.cloud.identity.assignments.targets_of(call.token.user.id, "project")
    projects = [project for project in call.cloud.tables.projects if project.id in own and project.enabled]
    return listed(call, "auth/projects", map(project_document, projects))


async def _domains(call: Call) -> Reply:
    has_role = call.cloud.identity.assignments.targets_of(call.token.user.id, "domain")
    return listed(call, "auth/domains", [domain_document()] if has_role else [])


async def _system(call: Call) -> Reply:
    has_role = call.cloud.identity.assignments.targets_of(call.token.user.id, "system")
    links = {"self": call.url("identity", "/v3/auth/system")}
    return json_reply({"system": [{"all": True}] if has_role else [], "links": links})


def domain_document() -> Document:
    """The only domain."""
    return {**DOMAIN, "description": "The default domain", "enabled": True, "tags": [], "options": {}}
