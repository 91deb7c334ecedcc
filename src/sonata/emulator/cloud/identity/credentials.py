"""Application credentials: secrets that stand for a user in one project, until they are deleted or expire."""

from __future__ import annotations

import secrets
import time

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.identity import ApplicationCredential, User
from sonata.emulator.cloud.identity.assignments import Assignments
from sonata.emulator.cloud.identity.directory import hex_id
from sonata.emulator.cloud.identity.passwords import hashed, matches
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict, InvalidInput, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialWish:
    """An application credential to be made; without a secret one is made up.

    Args:
        roles: ids; empty for all that the user has in the project.
        expires_at: Unix time in seconds, None for never.
    """

    user: User
    project_id: str
    name: str
    description: str = ""
    secret: str = ""
    roles: tuple[str, ...] = ()
    expires_at: float | None = None
    unrestricted: bool = False


class Credentials:
    """The application credentials of one cloud."""

    def __init__(self, tables: Tables, assignments: Assignments) -> None:
        self._tables = tables
        self._rows = tables.application_credentials
        self._assignments = assignments

    async def create(self, wish: CredentialWish) -> tuple[str, ApplicationCredential]:
        """Make a credential; returns its secret, which nobody will see again.

        Raises:
            InvalidInput: the user has not got one of the roles, or it would have expired already.
            Conflict: the user has one of this name.
        """
        secret = wish.secret or secrets.token_urlsafe(64)
        roles = self._checked_roles(wish)
        if wish.expires_at is not None and wish.expires_at <= time.time():
            raise InvalidInput("Invalid application credential: the expiration date is in the past.")
        secret_hash = await hashed(secret)
        if any((row.user_id, row.name) == (wish.user.id, wish.name) for row in self._rows):
            raise Conflict(
                f"Conflict occurred attempting to store application_credential - Duplicate entry found with name "
                f"{wish.name}."
            )
        credential = ApplicationCredential(
            id=hex_id(),
            name=wish.name,
            description=wish.description,
            project_id=wish.project_id,
            user_id=wish.user.id,
            secret_hash=secret_hash,
            roles=roles,
            expires_at=wish.expires_at,
            unrestricted=wish.unrestricted,
        )
        return secret, self._rows.add(credential)

    def of_user(self, user_id: str) -> tuple[ApplicationCredential, ...]:
        """A user's credentials, oldest first."""
        return tuple(row for row in self._rows if row.user_id == user_id)

    def get(self, user_id: str, credential_id: str) -> ApplicationCredential:
        """One of a user's credentials.

        Raises:
            NotFound: the user has no such one.
        """
        credential = self._rows.peek(credential_id)
        if credential is None or credential.user_id != user_id:
            raise NotFound(f"Could not find Application Credential: {credential_id}.")
        return credential

    def delete(self, user_id: str, credential_id: str) -> None:
        """Delete a credential; tokens got with it are worthless at once."""
        self._rows.remove(self.get(user_id, credential_id).id)

    async def matches(self, credential: ApplicationCredential | None, secret: str) -> bool:
        """Whether a secret is the credential's and it has not expired; takes equally long without a credential."""
        right = await matches(credential.secret_hash if credential else "", secret)
        if credential is None or not right:
            return False
        return credential.expires_at is None or credential.expires_at > time.time()

    def _checked_roles(self, wish: CredentialWish) -> tuple[str, ...]:
        has = self._assignments.roles_of(wish.user.id, "project", wish.project_id)
        if not wish.roles:
            return has
        effective = {role.id for role in self._tables.roles if role.name in self._assignments.names(has)}
        for role in wish.roles:
            if role not in effective:
                raise InvalidInput(
                    f"Invalid application credential: Could not find role assignment with role: {role}, user or "
                    f"group: {wish.user.id}, project, domain, or system: {wish.project_id}."
                )
        return wish.roles
