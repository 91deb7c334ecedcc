"""HTTP without TLS: the certificates that httpx reads for each client, TLS or not, take longer than most tests."""

from __future__ import annotations

from functools import partial

import httpx

Client = partial(httpx.Client, verify=False)
request = partial(httpx.request, verify=False)
get = partial(httpx.get, verify=False)
head = partial(httpx.head, verify=False)
post = partial(httpx.post, verify=False)
put = partial(httpx.put, verify=False)
patch = partial(httpx.patch, verify=False)
delete = partial(httpx.delete, verify=False)
