"""Looks at each address that a manifest names, for ``check --net``: what is off is a finding."""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio

from seedance_batch import preflight
from seedance_batch.download import file_client
from seedance_batch.forecast import Pace, forecast
from seedance_batch.manifest import Finding, Manifest
from seedance_batch.plan import make_plan


def look_at_addresses(manifest: Manifest, *, allow_private: bool, pace: Pace) -> Sequence[Finding]:
    """One bounded, polite look at each distinct URL; findings for every row that names it.

    Private addresses are looked at only where ``allow_private`` (the API is on loopback).
    """
    return anyio.run(_look, manifest, allow_private, pace)


async def _look(manifest: Manifest, allow_private: bool, pace: Pace) -> Sequence[Finding]:
    now = time.time()
    plan = make_plan(manifest.jobs, (), table=None)
    async with file_client(allow_private=allow_private) as http:
        looks = await preflight.look(
            preflight.addresses(manifest),
            http,
            now=now,
            needed_until=now + forecast(plan, pace, now).seconds,
            allow_private=allow_private,
        )
    return preflight.findings(looks, manifest)
