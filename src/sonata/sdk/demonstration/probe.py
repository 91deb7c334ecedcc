"""What runs at the users' endpoint: fetches objects and prints one JSON line for each.

The text of this module is handed to the endpoint's own Python, so it imports the standard library only.
"""

import http.client
import json
import sys
import time


def fetch(address: str, path: str) -> dict[str, object]:
    """GET one object over a connection of its own and tell times, size and what the cache said."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection(address, 80, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    first = answer.read(1)
    first_byte = time.perf_counter()
    body = first + answer.read()
    end = time.perf_counter()
    connection.close()
    if answer.status != http.client.OK:
        raise SystemExit(f"GET {path} answered {answer.status} {answer.reason}")
    said = answer.getheader("X-Cache") or ""
    return {
        "path": path,
        "size_bytes": len(body),
        "first_byte_ms": round((first_byte - start) * 1000, 2),
        "total_ms": round((end - start) * 1000, 2),
        "cache": said.split()[0] if said else "",
    }


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        sys.stdout.write(json.dumps(fetch(sys.argv[1], wanted)) + "\n")
