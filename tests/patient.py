"""HTTP with a bound that only a hang reaches; httpx itself gives up after five seconds."""

from __future__ import annotations

from functools import partial

import httpx

_BOUND = 120.0

get = partial(httpx.get, timeout=_BOUND)
head = partial(httpx.head, timeout=_BOUND)
post = partial(httpx.post, timeout=_BOUND)
request = partial(httpx.request, timeout=_BOUND)
