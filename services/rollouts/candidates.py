"""A candidate as one worker has it: loaded, and told for which requests it answers."""

import hashlib
from dataclasses import dataclass

from models.rollout import Rollout
from models.runtime import Served


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version on trial, ready to answer.

    Attributes:
        rollout: Its trial.
        served: Its session and version.
    """

    rollout: Rollout
    served: Served

    def answers(self, key: str) -> bool:
        """Whether it answers the request with this key: the same one always, its share of all.

        Args:
            key: The subject of the request where there is one, so that a person meets one version
                only; else the identifier of its first answer.
        """
        if self.rollout.phase != "canary":
            return False
        seed = f"{self.rollout.rollout_id}/{key}".encode()
        number = int.from_bytes(hashlib.sha256(seed).digest()[:8])
        return number < self.rollout.share * 2**64
