"""Who may use a cloud: projects, users, groups, roles, credentials and tokens of its own."""

from sonata.emulator.cloud.identity.identity import ADMIN, DOMAIN_ID, DOMAIN_NAME, Identity

__all__ = ["ADMIN", "DOMAIN_ID", "DOMAIN_NAME", "Identity"]
