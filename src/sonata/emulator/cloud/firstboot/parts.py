"""User data taken apart: one text, or a MIME multipart of several, plain or compressed (cloud-init, user data formats).

Whatever a server is given is bounded before it is read.
"""

from __future__ import annotations

import email
import zlib
from collections.abc import Iterable, Sequence

from sonata._lib.values import dataclass

CONFIG, SCRIPT, BOOTHOOK, INCLUDE, HANDLER, UNKNOWN = (
    "text/cloud-config", "text/x-shellscript", "text/cloud-boothook", "text/x-include-url", "text/part-handler",
    "text/plain",
)  # fmt: skip
BOOTHOOK_MARK = b"#cloud-boothook"
ARCHIVE = "text/cloud-config-archive"
PER_BOOT, PER_INSTANCE = "text/x-shellscript-per-boot", "text/x-shellscript-per-instance"
PER_ONCE = "text/x-shellscript-per-once"
_MARKS = (
    (b"#cloud-config-archive", ARCHIVE), (b"#cloud-config", CONFIG), (b"#!", SCRIPT), (b"#cloud-boothook", BOOTHOOK),
    (b"#include", INCLUDE), (b"#part-handler", HANDLER),
)  # fmt: skip
_KNOWN = frozenset((CONFIG, SCRIPT, BOOTHOOK, INCLUDE, HANDLER, ARCHIVE, PER_BOOT, PER_INSTANCE, PER_ONCE))
JINJA = b"## template: jinja"
LONGEST = 1024**2
MOST_PARTS = 64
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of user data. `is_template` when its first line says that it is a jinja template."""

    kind: str
    content: bytes
    is_template: bool = False


def parts_of(user_data: bytes) -> list[Part]:
    """The pieces of user data in their order.

    Raises:
        ValueError: it cannot be read, or is too large.
    """
    plain = inflated(user_data)
    if not plain.strip():
        return []
    found = list(_of_message(plain)) if _is_message(plain) else [part_of(plain)]
    refuse_too_many(found)
    return found


def refuse_too_many(found: Sequence[Part]) -> None:
    """Refuse user data of too many pieces.

    Raises:
        ValueError: there are too many.
    """
    if len(found) > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS} parts")


def inflated(data: bytes) -> bytes:
    """Data without gzip compression.

    Raises:
        ValueError: it is damaged, or becomes too large.
    """
    if not data.startswith(_GZIP):
        return data
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(data, LONGEST)
    except zlib.error as error:
        raise ValueError(f"its compression is damaged: {error}") from error
    if inflater.unconsumed_tail or len(plain) >= LONGEST:
        raise ValueError(f"it is larger than {LONGEST} bytes when uncompressed")
    if not inflater.eof:
        raise ValueError("its compression is damaged: it breaks off")
    return plain


def _is_message(plain: bytes) -> bool:
    head = plain.lstrip()[:4096].lower()
    return head.startswith((b"content-type:", b"mime-version:", b"from "))


def _of_message(plain: bytes) -> Iterable[Part]:
    message = email.message_from_bytes(plain)
    for piece in message.walk():
        if not piece.is_multipart():
            content = piece.get_payload(decode=True)
            if isinstance(content, bytes):
                yield part_of(inflated(content), piece.get_content_type())


def without_mark(content: bytes, mark: bytes) -> bytes:
    """Content without the line that begins with a mark, which only says what it is."""
    first, _, rest = content.lstrip().partition(b"\n")
    return rest if first.startswith(mark) else content


def part_of(content: bytes, declared: str = UNKNOWN) -> Part:
    """A piece by its declared type, or, when that tells nothing, by its first line."""
    first, _, rest = content.lstrip().partition(b"\n")
    is_template = first.strip() == JINJA or declared == "text/jinja2"
    body = rest if first.strip() == JINJA else content
    sniffed = next((kind for mark, kind in _MARKS if body.lstrip().startswith(mark)), UNKNOWN)
    return Part(declared if declared in _KNOWN else sniffed, body, is_template)
