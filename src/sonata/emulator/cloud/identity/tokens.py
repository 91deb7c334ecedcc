"""Tokens that carry what they stand for, encrypted and signed with the cloud's own key.

As with Keystone's Fernet tokens nothing is stored for a token, so that it outlives the death of the keeper; what it may
do follows from the tables at each use, so that a role taken away, a user disabled or a project deleted takes effect
at once. Only revoked ones are remembered, until they would have expired. A verdict holds until one of the tables that
it came from changes: clients send the same token with each request.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.identity import (
    ApplicationCredential,
    Project,
    Revocation,
    ScopeKind,
    TokenKey,
    User,
)
from sonata.emulator.cloud.identity.assignments import Assignments
from sonata.emulator.cloud.identity.roles import Needed
from sonata.emulator.cloud.tables import Tables, generation_of
from sonata.errors import NotFound, Unauthorised

LIFETIME_S = 4 * 3600.0
REQUIRED = "The request you have made requires authentication."
LONGEST = 2048
"""Characters of a token; longer ones are not even looked at."""
KEY = "fernet"
MOST_VERDICTS = 1024


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is for: a project, the domain (by id), the system, or nothing yet."""

    kind: ScopeKind = "unscoped"
    id: str = ""


UNSCOPED = Scope()


class _Payload(msgspec.Struct, array_like=True):
    """What is in a token. Times are Unix times in seconds."""

    user: str
    scope: tuple[ScopeKind, str]
    methods: tuple[str, ...]
    audit_ids: tuple[str, ...]
    issued_at: float
    expires_at: float
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """What a token stands for at this moment. Times are Unix times in seconds.

    Args:
        project: None unless the token is for a project.
        roles: names, with those implied.
        audit_ids: its own, and the one of the token at the beginning of its chain.
        credential: the application credential that it was got with.
    """

    user: User
    scope: Scope
    project: Project | None
    roles: tuple[str, ...]
    methods: tuple[str, ...]
    audit_ids: tuple[str, ...]
    issued_at: float
    expires_at: float
    credential: ApplicationCredential | None = None

    @property
    def is_admin(self) -> bool:
        """Whether it carries the role `admin`."""
        return "admin" in self.roles

    def allows(self, needed: Needed) -> bool:
        """Whether one of its roles is the one needed, or brings it with it."""
        return needed == "any" or needed in self.roles


class Tokens:
    """Issues and checks the tokens of one cloud."""

    def __init__(self, tables: Tables, assignments: Assignments) -> None:
        self._tables = tables
        self._assignments = assignments
        key = tables.token_keys.peek(KEY)
        if key is None:
            key = tables.token_keys.add(TokenKey(id=KEY, secret=Fernet.generate_key().decode()))
        self._fernet = Fernet(key.secret)
        self._judged_by = (
            tables.users,
            tables.groups,
            tables.projects,
            tables.roles,
            tables.assignments,
            tables.application_credentials,
            tables.revocations,
        )
        self._verdicts: OrderedDict[str, tuple[int, Token]] = OrderedDict()

    def issue(
        self,
        user: User,
        scope: Scope,
        methods: tuple[str, ...],
        parent: Token | None = None,
        credential: ApplicationCredential | None = None,
    ) -> tuple[str, Token]:
        """Make a token; returns its secret and what it stands for. A token got with a token lives no longer than it.

        Raises:
            Unauthorised: the user has no role there, or is disabled, as may be the project.
        """
        now = time.time()
        ends = [now + LIFETIME_S]
        if parent:
            ends.append(parent.expires_at)
        if credential and credential.expires_at is not None:
            ends.append(credential.expires_at)
        payload = _Payload(
            user=user.id,
            scope=(scope.kind, scope.id),
            methods=methods,
            audit_ids=(secrets.token_urlsafe(16), *((parent.audit_ids[-1],) if parent else ())),
            issued_at=max(now, user.tokens_after),  # which is to come where the clock was set back since
            expires_at=min(ends),
            credential=credential.id if credential else "",
        )
        token = self._judge(payload)
        secret = self._fernet.encrypt(msgspec.json.encode(payload)).decode().rstrip("=")
        return secret, token

    def check(self, secret: str) -> Token:
        """What a token stands for.

        Raises:
            Unauthorised: it is not of this cloud, expired, revoked, or what it stands for is no more.
        """
        generation = generation_of(self._judged_by)
        verdict = self._verdicts.get(secret)
        if verdict and verdict[0] == generation and verdict[1].expires_at > time.time():
            return verdict[1]
        self._verdicts.pop(secret, None)
        token = self._judge(self._opened(secret))
        self._verdicts[secret] = (generation, token)
        self._forget()
        return token

    def subject(self, secret: str) -> Token:
        """What a token that is asked about stands for.

        Raises:
            NotFound: it is not valid here.
        """
        try:
            return self.check(secret)
        except Unauthorised:
            raise NotFound("Could not find token.") from None

    def revoke(self, token: Token) -> None:
        """Make a token worthless; idempotent."""
        now = time.time()
        rows = self._tables.revocations
        for row in rows:
            if row.expires_at <= now:
                rows.remove(row.id)
        if token.audit_ids[0] not in rows:
            rows.add(Revocation(id=token.audit_ids[0], expires_at=token.expires_at))

    def _forget(self) -> None:
        """Let go of verdicts on tokens that have expired, the first ones first, and of the oldest of too many."""
        now = time.time()
        while self._verdicts:
            _, oldest = next(iter(self._verdicts.values()))
            if len(self._verdicts) <= MOST_VERDICTS and oldest.expires_at > now:
                return
            self._verdicts.popitem(last=False)

    def _opened(self, secret: str) -> _Payload:
        if not 0 < len(secret) <= LONGEST or not secret.isascii():
            raise Unauthorised(REQUIRED)
        try:
            plain = self._fernet.decrypt(secret + "=" * (-len(secret) % 4))
            return msgspec.json.decode(plain, type=_Payload)
        except (InvalidToken, msgspec.DecodeError):
            raise Unauthorised(REQUIRED) from None

    def _judge(self, payload: _Payload) -> Token:
        user = self._tables.users.peek(payload.user)
        if user is None or not user.enabled or payload.issued_at < user.tokens_after:
            raise Unauthorised(REQUIRED)
        if payload.expires_at <= time.time() or payload.audit_ids[0] in self._tables.revocations:
            raise Unauthorised(REQUIRED)
        scope = Scope(*payload.scope)
        credential = self._credential(payload.credential)
        return Token(
            user=user,
            scope=scope,
            project=self._project(scope),
            roles=self._roles(user, scope, credential),
            methods=payload.methods,
            audit_ids=payload.audit_ids,
            issued_at=payload.issued_at,
            expires_at=payload.expires_at,
            credential=credential,
        )

    def _credential(self, credential_id: str) -> ApplicationCredential | None:
        if not credential_id:
            return None
        found = self._tables.application_credentials.peek(credential_id)
        if found is None:
            raise Unauthorised(REQUIRED)
        return found

    def _project(self, scope: Scope) -> Project | None:
        if scope.kind != "project":
            return None
        project = self._tables.projects.peek(scope.id)
        if project is None or not project.enabled:
            raise Unauthorised(REQUIRED)
        return project

    def _roles(self, user: User, scope: Scope, credential: ApplicationCredential | None) -> tuple[str, ...]:
        """Names of the roles that a token carries: in its scope at least one."""
        if scope.kind == "unscoped":
            return ()
        roles = self._assignments.roles_of(user.id, scope.kind, scope.id)
        names = self._assignments.names(roles)
        if credential:
            allowed = self._assignments.names(credential.roles)
            names = tuple(name for name in names if name in allowed)
        if not names:
            raise Unauthorised(REQUIRED)
        return names
