"""Signed, expiring addresses of output files."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from seedance_batch.sandbox.wire import Request


@dataclass(slots=True)
class Links:
    """Makes and checks file URLs; ``base`` changes with the port, signatures do not."""

    secret: str
    base: str = "http://files.sandbox"

    def url(self, task_id: str, name: str, expires: int) -> str:
        """The address of a task's file until ``expires`` (Unix seconds)."""
        path = f"/tasks/{task_id}/{name}"
        return f"{self.base}{path}?expires={expires}&signature={self._sign(path, expires)}"

    def problem(self, request: Request, now: float) -> str | None:
        """Why the address of this request is not good, or None."""
        expires = request.query.get("expires", "")
        signature = request.query.get("signature", "")
        if not (expires.isascii() and expires.isdigit() and len(expires) < 20):
            return "unsigned"
        wanted = self._sign(request.path, int(expires))
        if not hmac.compare_digest(wanted.encode(), signature.encode()):
            return "unsigned"
        return "expired" if now >= int(expires) else None

    def _sign(self, path: str, expires: int) -> str:
        text = f"{path}\n{expires}".encode()
        return hmac.new(self.secret.encode(), text, hashlib.sha256).hexdigest()[:32]
