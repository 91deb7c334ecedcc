"""What the first process of an emulation becomes, see `sonata.daemon.keeper`.

Nothing of what is imported here is garbage, so none is collected before `sonata.daemon.emulation` begins its work.
"""

from __future__ import annotations

import gc
import sys

gc.disable()

from sonata.daemon.emulation import keep  # noqa: E402  # after the line before

if __name__ == "__main__":
    gc.freeze()
    gc.enable()
    sys.exit(keep(*map(int, sys.argv[1:])))
