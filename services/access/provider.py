"""Signing in through a provider of OpenID Connect: authorization code with PKCE, state and nonce.

Authlib speaks the protocol and checks the identity token: signature by the provider's published
keys, issuer, audience, times, nonce. What is decided here is who that is for us: the name from one
claim, the role from another by the mapping of the settings.

References:
    OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); RFC 9700, section 2.1.
"""

from collections.abc import Mapping
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.requests import Request

from services.access import keys
from services.access.principals import Role
from services.errors import ForbiddenError, ServiceError
from services.settings import Settings, role_mapping

CALLBACK = "/sign-in/callback"
_LEEWAY_SECONDS = 60
_PATIENCE_SECONDS = 10.0
# Of RFC 7518 and RFC 8037; a shared secret or no signature at all would prove nothing.
_ALGORITHMS = frozenset({
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
})  # fmt: skip


class ProviderError(ServiceError):
    """The provider does not answer, or its answer does not show who signed in."""


class Provider:
    """The provider of the settings; its document is read at the first sign-in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._issuer = settings.oidc_issuer.rstrip("/")
        document = f"{self._issuer}/.well-known/openid-configuration"
        self._app = OAuth().register(
            "provider",
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret or None,
            server_metadata_url=document,
            client_kwargs={
                "scope": settings.oidc_scopes,
                "code_challenge_method": "S256",
                "timeout": _PATIENCE_SECONDS,
                "token_endpoint_auth_method": "client_secret_basic"
                if settings.oidc_client_secret
                else "none",
            },
        )

    async def begin(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Return where the browser goes, and what it must bring back.

        Raises:
            ProviderError: If the provider does not answer as one.
        """
        request.scope["session"] = {}
        try:
            await self._read_document()
            back = self._settings.public_url + CALLBACK
            answer = await self._app.authorize_redirect(request, back)
        except _FAILURES as error:
            raise ProviderError("the provider does not answer") from error
        return answer.headers["location"], dict(request.session)

    async def finish(self, request: Request, kept: dict[str, Any]) -> tuple[str, Role]:
        """Return who comes back from the provider.

        Args:
            request: With the provider's code and state.
            kept: What `begin` gave to the browser.

        Raises:
            ProviderError: If it does not show who signed in.
            ForbiddenError: If that person has no role here.
        """
        request.scope["session"] = kept
        try:
            await self._read_document()
            token = await self._app.authorize_access_token(
                request,
                claims_options={"iss": {"essential": True, "value": self._settings.oidc_issuer}},
                leeway=_LEEWAY_SECONDS,
            )
            claims = token["userinfo"]
        except _FAILURES as error:
            raise ProviderError("the sign-in did not work") from error
        return known(claims, self._settings)

    async def _read_document(self) -> None:
        document = await self._app.load_server_metadata()
        if str(document.get("issuer", "")).rstrip("/") != self._issuer:
            raise ValueError("the document is of another issuer")
        named = document.get("id_token_signing_alg_values_supported") or ["RS256"]
        safe = [each for each in named if each in _ALGORITHMS]
        if not safe:
            raise ValueError("the provider signs with no algorithm that proves anything")
        document["id_token_signing_alg_values_supported"] = safe


def known(claims: Mapping[str, Any], settings: Settings) -> tuple[str, Role]:
    """Return the name and the role of whom the claims are about.

    Raises:
        ForbiddenError: If the claims give no name that can stand in the trail, or no role.
    """
    name = str(claims.get(settings.oidc_name_claim) or "").strip()
    unproven = settings.oidc_name_claim == "email" and claims.get("email_verified") is False
    if not keys.NAME.fullmatch(name) or unproven:
        raise ForbiddenError("the provider gives no name for you that Rightly could write down")
    said = claims.get(settings.oidc_role_claim) or []
    words = [said] if isinstance(said, str) else list(said)
    mapping = role_mapping(settings.oidc_roles)
    roles = [Role.named(mapping[word]) for word in words if word in mapping]
    if not roles or max(roles) < Role.VIEWER:
        raise ForbiddenError("your account has no role here; an administrator can give it one")
    return name, max(roles)


# What Authlib, the token's checks and the network raise; a malformed answer shows as the last.
_FAILURES = (
    AuthlibBaseError, JoseError, httpx.HTTPError, ValueError, KeyError, TypeError, RuntimeError,
)  # fmt: skip
