"""Tokens and bootstrap of a cloud's own Keystone over its tables."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sonata._lib.plain import decode, encode
from sonata.emulator.cloud.entities.identity import Project, User
from sonata.emulator.cloud.identity import Identity
from sonata.emulator.cloud.identity.assignments import Grant
from sonata.emulator.cloud.identity.tokens import LIFETIME_S, MOST_VERDICTS, UNSCOPED, Scope
from sonata.emulator.cloud.quotas import QUOTAS, Quotas
from sonata.emulator.cloud.saved_tables import from_document, rows_of, to_document
from sonata.emulator.cloud.tables import Tables
from sonata.errors import QuotaExceeded, Unauthorised


def revived(tables: Tables) -> Tables:
    """The tables after a death of the keeper."""
    return from_document(decode(encode(to_document(rows_of(tables)))))


def test_tokens_outlive_the_keeper_and_revoked_ones_stay_so() -> None:
    tables = Tables()
    identity = Identity(tables)
    scope = Scope("project", identity.admin_project.id)
    kept, _token = identity.tokens.issue(identity.admin, scope, ("password",))
    revoked, token = identity.tokens.issue(identity.admin, scope, ("password",))
    identity.tokens.revoke(token)
    later = Identity(revived(tables))
    assert later.tokens.check(kept).project == identity.admin_project
    with pytest.raises(Unauthorised):
        later.tokens.check(revoked)


def test_a_token_is_worthless_elsewhere_and_when_a_bit_is_changed() -> None:
    here, there = Identity(Tables()), Identity(Tables())
    secret, _token = here.tokens.issue(here.admin, UNSCOPED, ("password",))
    here.tokens.check(secret)
    spoiled = secret[:40] + ("A" if secret[40] != "A" else "B") + secret[41:]
    for wrong in (spoiled, secret[:-4], "", "é", "x" * 10_000):
        with pytest.raises(Unauthorised):
            here.tokens.check(wrong)
    with pytest.raises(Unauthorised):
        there.tokens.check(secret)


def _disabled(identity: Identity, tables: Tables) -> None:
    tables.users.change(identity.admin.id, enabled=False)


def _signed_out(identity: Identity, tables: Tables) -> None:
    tables.users.change(identity.admin.id, tokens_after=time.time() + 1)


def _without_project(identity: Identity, tables: Tables) -> None:
    tables.projects.change(identity.admin_project.id, enabled=False)


def _without_role(identity: Identity, tables: Tables) -> None:
    for row in tables.assignments:
        identity.assignments.revoke(Grant(row.actor_kind, row.actor, row.target_kind, row.target, row.role))


ENDINGS: tuple[Callable[[Identity, Tables], None], ...] = (_disabled, _signed_out, _without_project, _without_role)


@pytest.mark.parametrize("end", ENDINGS)
def test_a_token_that_was_good_a_moment_ago_is_refused_once_its_ground_is_gone(
    end: Callable[[Identity, Tables], None],
) -> None:
    tables = Tables()
    identity = Identity(tables)
    secret, _token = identity.tokens.issue(identity.admin, Scope("project", identity.admin_project.id), ("password",))
    assert identity.tokens.check(secret) is identity.tokens.check(secret)
    end(identity, tables)
    with pytest.raises(Unauthorised):
        identity.tokens.check(secret)


def test_a_token_that_was_good_a_moment_ago_is_refused_once_revoked_or_over(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(Tables())
    revoked, token = identity.tokens.issue(identity.admin, UNSCOPED, ("password",))
    aged, _token = identity.tokens.issue(identity.admin, UNSCOPED, ("password",))
    for secret in (revoked, aged):
        identity.tokens.check(secret)
    identity.tokens.revoke(token)
    with pytest.raises(Unauthorised):
        identity.tokens.check(revoked)
    identity.tokens.check(aged)
    later = time.time() + LIFETIME_S
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Unauthorised):
        identity.tokens.check(aged)


def test_nothing_is_remembered_of_tokens_that_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = (identity := Identity(Tables())).tokens
    for _ in range(10):
        tokens.check(tokens.issue(identity.admin, UNSCOPED, ("password",))[0])
    later = time.time() + LIFETIME_S
    monkeypatch.setattr(time, "time", lambda: later)
    tokens.check(tokens.issue(identity.admin, UNSCOPED, ("password",))[0])
    assert len(tokens._verdicts) == 1


def test_many_tokens_are_told_apart() -> None:
    identity = Identity(Tables())
    issued = dict(identity.tokens.issue(identity.admin, UNSCOPED, ("password",)) for _ in range(MOST_VERDICTS + 2))
    for _ in range(2):
        assert {secret: identity.tokens.check(secret) for secret in issued} == issued


def test_tables_from_before_there_were_roles_get_them() -> None:
    tables = Tables()
    project = tables.projects.add(Project(id="1" * 32, name="admin"))
    admin = tables.users.add(User(id="2" * 32, name="admin", project_id=project.id))
    identity = Identity(tables)
    assert identity.assignments.effective(admin.id, "project", project.id) == ("admin", "member", "reader")
    again = Identity(revived(tables))
    assert {role.name for role in tables.roles} == {"admin", "member", "reader"}
    assert again.admin == identity.admin


def test_quotas_count_limit_and_reset() -> None:
    tables = Tables()
    quotas = Quotas(tables)
    for name in QUOTAS:
        assert quotas.used("p", name) == 0
    quotas.set("p", {"network": 1, "cores": 2})
    quotas.require("p", "network")
    with pytest.raises(QuotaExceeded, match="Requested 2, but already used 0 of 1"):
        quotas.require("p", "network", adding=2)
    with pytest.raises(QuotaExceeded, match="cores"):
        quotas.require_all("p", {"cores": 3, "ram": 10_000})
    quotas.require("", "network", adding=100)
    quotas.require("other", "network", adding=100)
    assert quotas.room("p", "network") == 1
    assert quotas.room("p", "ram") is None
    quotas.set("default", {"network": 7})
    quotas.reset("p", "network")
    assert (quotas.limit("p", "network"), quotas.limit("p", "cores")) == (7, 2)
    quotas.reset("p")
    assert quotas.limit("p", "cores") == -1
