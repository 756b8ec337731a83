"""A real OpenID Connect provider on loopback (oidc-provider-mock), which also checks what that one lets pass: PKCE and
the client's secret."""

from __future__ import annotations

import base64
import hashlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import flask
import requests
from werkzeug.serving import make_server

SECRET = "the secret of the client"


@dataclass
class IdentityProvider:
    address: str
    challenges: set[str] = field(default_factory=set)
    # What is put in the place of its own answers: path to claims.
    instead: dict[str, dict[str, Any]] = field(default_factory=dict)

    def knows(self, sub: str, **claims: Any) -> None:
        """Somebody has an account there, with these claims."""
        requests.put(f"{self.address}/users/{sub}", json=claims, timeout=5).raise_for_status()

    def answer(self, address: str, sub: str, **form: str) -> str:
        """Where a browser is sent that opened the address there and signed in as `sub`."""
        response = requests.post(address, data={"sub": sub} | form, allow_redirects=False, timeout=5)
        return response.headers["Location"]


@contextmanager
def identity_provider(port: int = 0) -> Iterator[IdentityProvider]:
    with warnings.catch_warnings():
        import authlib.deprecate  # noqa: F401 -- which has its warnings shown always

        warnings.simplefilter("ignore")  # it uses what its own library is about to drop
        import oidc_provider_mock
    app = oidc_provider_mock.app()
    server = make_server("127.0.0.1", port, app, threaded=True)
    provider = IdentityProvider(f"http://127.0.0.1:{server.server_port}")

    @app.before_request
    def check() -> Any:
        if flask.request.path == "/oauth2/authorize":
            assert flask.request.args["code_challenge_method"] == "S256"
            provider.challenges.add(flask.request.args["code_challenge"])
        if flask.request.path == "/oauth2/token":
            sent = flask.request.form
            digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            if challenge not in provider.challenges or sent.get("client_secret") not in (None, SECRET):
                return flask.jsonify(error="invalid_grant"), 400
        if flask.request.path in provider.instead:
            return flask.jsonify(provider.instead[flask.request.path])
        return None

    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
