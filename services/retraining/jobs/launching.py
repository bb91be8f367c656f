"""The launcher that the settings name."""

from services.retraining.jobs.launchers import Launcher, LocalLauncher
from services.retraining.jobs.ray_jobs import RayLauncher
from services.settings import Settings


def of(chosen: Settings) -> Launcher:
    """Return where trainings run: this machine, or a Ray cluster."""
    if chosen.launcher == "ray":
        return RayLauncher(chosen.retrainings, chosen.ray_address, chosen.ray_token)
    return LocalLauncher(chosen.retrainings)
