"""Key pairs of one cloud's users: made here or brought along, with fingerprints as Nova computes them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sonata._lib.later import later
from sonata._lib.values import dataclass
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.keypair import KeyPair, KeyType
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from cryptography import exceptions, x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509 import oid
else:
    exceptions = later("cryptography.exceptions")
    x509 = later("cryptography.x509")
    oid = later("cryptography.x509.oid")
    hashes = later("cryptography.hazmat.primitives.hashes")
    serialization = later("cryptography.hazmat.primitives.serialization")
    rsa = later("cryptography.hazmat.primitives.asymmetric.rsa")

RSA_BITS = 2048
COMMENT = "Generated-by-Nova"
CERTIFICATE_LIFE = timedelta(days=3650)
_UNSAFE = re.compile(r"[^A-Za-z0-9 @._-]")


@dataclass(frozen=True, slots=True)
class Generated:
    """A key pair made here; its private half is told once, in PEM."""

    pair: KeyPair
    private_key: str


class KeyPairs:
    """The key pairs of one cloud."""

    def __init__(self, tables: Tables) -> None:
        self._table = tables.keypairs

    def of(self, user_id: str) -> list[KeyPair]:
        """A user's key pairs by name."""
        return sorted((pair for pair in self._table if pair.user_id == user_id), key=lambda pair: pair.name)

    def find(self, user_id: str, name: str) -> KeyPair:
        """A user's key pair.

        Raises:
            NoSuch: the user has none of this name.
        """
        for pair in self._table:
            if (pair.user_id, pair.name) == (user_id, name):
                return pair
        raise NoSuch("Keypair", name)

    def import_key(self, user_id: str, name: str, kind: KeyType, public_key: str) -> KeyPair:
        """Take a public key that a user brings along.

        Raises:
            InvalidInput: it is no such key, or the name has characters that names may not have.
            Conflict: the user has a key pair of this name.
        """
        self._check_name(user_id, name)
        fingerprint = certificate_fingerprint(public_key) if kind == "x509" else ssh_fingerprint(public_key)
        return self._add(user_id, name, kind, public_key, fingerprint)

    async def generate(self, user_id: str, name: str, kind: KeyType) -> Generated:
        """Make a key pair; RSA, since every client of every age reads it.

        Raises:
            InvalidInput, Conflict: as `import_key`.
        """
        self._check_name(user_id, name)
        public, private = await asyncio.to_thread(_new_certificate if kind == "x509" else _new_ssh_key, user_id)
        return Generated(self.import_key(user_id, name, kind, public), private)

    def delete(self, pair: KeyPair) -> None:
        """Forget a key pair; servers keep the key that they were started with."""
        self._table.remove(pair.id)

    def _check_name(self, user_id: str, name: str) -> None:
        if not name or name != name.strip() or _UNSAFE.search(name):
            raise InvalidInput("Keypair data is invalid: Keypair name contains unsafe characters")
        if any((pair.user_id, pair.name) == (user_id, name) for pair in self._table):
            raise Conflict(f"Key pair '{name}' already exists.")

    def _add(self, user_id: str, name: str, kind: KeyType, public_key: str, fingerprint: str) -> KeyPair:
        number = 1 + max((pair.number for pair in self._table), default=0)
        pair = KeyPair(
            name=name, user_id=user_id, type=kind, public_key=public_key, fingerprint=fingerprint, number=number
        )
        return self._table.add(pair)


def ssh_fingerprint(public_key: str) -> str:
    """MD5 of a key's blob in pairs of digits (RFC 4716 §4), which is what Nova shows.

    Raises:
        InvalidInput: it is no OpenSSH public key.
    """
    try:
        serialization.load_ssh_public_key(public_key.strip().encode())
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (ValueError, IndexError, binascii.Error, exceptions.UnsupportedAlgorithm) as error:
        raise InvalidInput("Keypair data is invalid: failed to generate fingerprint") from error
    return _pairs(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def certificate_fingerprint(pem: str) -> str:
    """SHA-1 of a certificate in pairs of digits.

    Raises:
        InvalidInput: it is no certificate in PEM.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise InvalidInput("Keypair data is invalid: failed to generate X509 fingerprint") from error
    return _pairs(hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER), usedforsecurity=False).hexdigest())


def _pairs(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _new_ssh_key(_user_id: str) -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{public.decode()} {COMMENT}\n", _pem(key)


def _new_certificate(user_id: str) -> tuple[str, str]:
    """A self-signed certificate for log-in, as Windows servers take it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    name = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, user_id[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + CERTIFICATE_LIFE)
        .add_extension(x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key)


def _pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
