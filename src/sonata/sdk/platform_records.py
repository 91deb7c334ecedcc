"""The file that tells where the platform of a data folder runs; its owner alone can read it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sonata._lib.paths import data_home, write_private
from sonata._lib.processes import ProcessId, is_running
from sonata._lib.values import dataclass
from sonata.errors import NotFound

STATE_FILE = "platform.json"
TOKEN_FILE = "admin-token"  # noqa: S105  # nosec B105  # a file name
LOG_FILE = "platform.log"


@dataclass(frozen=True, slots=True)
class PlatformRecord:
    """A running platform.

    Args:
        url: base URL of its API.
        token: its admin token.
    """

    process: ProcessId
    url: str
    token: str

    def __repr__(self) -> str:
        return f"PlatformRecord(pid={self.process.pid}, url={self.url!r})"


def default_data() -> Path:
    """The data folder of a platform that was not told another one."""
    return data_home() / "platform"


def save(data: Path, record: PlatformRecord) -> None:
    """Write the record of a data folder."""
    write_private(data / STATE_FILE, msgspec.json.encode(record))


def load(data: Path) -> PlatformRecord | None:
    """The record of a data folder, whether its platform runs or has died; None when there is none."""
    try:
        return msgspec.json.decode((data / STATE_FILE).read_bytes(), type=PlatformRecord)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def remove(data: Path) -> None:
    """Forget the platform of a data folder."""
    (data / STATE_FILE).unlink(missing_ok=True)


def find(data: Path) -> PlatformRecord:
    """The platform that runs on a data folder.

    Raises:
        NotFound: none runs.
    """
    record = load(data)
    if record is None or not is_running(record.process):
        raise NotFound(f"no platform runs on data folder `{data}`", hint="start one with `sonata up`")
    return record
