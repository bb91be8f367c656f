"""What must be true before a server listens."""

import ipaddress
from importlib.util import find_spec
from urllib.parse import urlsplit

from services.access.principals import Role
from services.settings import Settings, SettingsError, role_mapping


def check(settings: Settings) -> None:
    """Refuse to serve others without sign-in, or with one that cannot work.

    Raises:
        SettingsError: If it would, or if what `notify` or `traces` needs is missing.
    """
    if settings.traces and find_spec("opentelemetry.exporter") is None:
        raise SettingsError("traces: they need an exporter: rightly install tracing")
    if settings.notify:
        _check_addresses(settings.notify)
    if settings.sign_in == "oidc":
        _check_provider(settings)
    if settings.sign_in != "none" or settings.open_without_sign_in:
        return
    if not is_loopback(settings.host):
        raise SettingsError(
            f"host: {settings.host} can be reached by others, and there is no sign-in; set "
            "RIGHTLY_SIGN_IN=keys (and make a key: rightly keys add NAME --role admin), or "
            "RIGHTLY_OPEN_WITHOUT_SIGN_IN=true where something else keeps others out"
        )


def _check_provider(settings: Settings) -> None:
    for name in ("oidc_issuer", "oidc_client_id", "oidc_roles", "public_url"):
        if not getattr(settings, name):
            raise SettingsError(f"{name}: sign_in=oidc needs it")
    issuer = urlsplit(settings.oidc_issuer)
    if issuer.scheme != "https" and not is_loopback(issuer.hostname or ""):
        raise SettingsError("oidc_issuer: a provider on another machine needs https")
    for role in role_mapping(settings.oidc_roles).values():
        try:
            Role.named(role)
        except ValueError as error:
            raise SettingsError(f"oidc_roles: {error}") from error
    if find_spec("authlib") is None:
        raise SettingsError("sign_in: oidc needs Authlib: pip install rightly[oidc]")


def _check_addresses(addresses: str) -> None:
    """Refuse an address that Apprise does not understand; what is in it may be a secret."""
    if find_spec("apprise") is None:
        raise SettingsError("notify: it needs Apprise: rightly install notifications")
    import apprise  # noqa: PLC0415  # an extra, and a third of a second

    for number, each in enumerate(addresses.split(), start=1):
        if not apprise.Apprise().add(each):
            raise SettingsError(
                f"notify: address {number} ({each.partition('://')[0][:20]}://…) is none that "
                "Apprise knows; json://host/path is a webhook, slack:// and mailto:// go to people"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
