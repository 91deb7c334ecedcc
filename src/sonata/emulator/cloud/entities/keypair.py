"""Key pairs, as the Compute API v2.1 names them."""

from __future__ import annotations

from typing import Literal

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity

KeyType = Literal["ssh", "x509"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair(Entity):
    """The public half of a user's key; the private one is never kept. Names are unique for each user.

    Args:
        public_key: a line of authorized_keys(5), or a certificate in PEM.
        fingerprint: as Nova shows it: MD5 of an ssh key, SHA-1 of a certificate, in pairs of digits.
        number: small and unique here, what the API shows as `id`.
    """

    user_id: str
    public_key: str
    fingerprint: str
    type: KeyType = "ssh"
    number: int = 0
