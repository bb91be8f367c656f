"""What must be true before a server without sign-in listens."""

import ipaddress

from services.settings import Settings, SettingsError


def check(settings: Settings) -> None:
    """Refuse to serve others without sign-in, unless the settings say that this is meant.

    Raises:
        SettingsError: If it would.
    """
    if settings.sign_in != "none" or settings.open_without_sign_in:
        return
    if not is_loopback(settings.host):
        raise SettingsError(
            f"host: {settings.host} can be reached by others, and there is no sign-in; set "
            "RIGHTLY_SIGN_IN=keys (and make a key: rightly keys add NAME --role admin), or "
            "RIGHTLY_OPEN_WITHOUT_SIGN_IN=true where something else keeps others out"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
