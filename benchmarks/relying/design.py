"""Which networks are made: a fraction of all combinations, the most informative first.

Left out against the full product: most pairs of a cue's kind with place, strength and set; more
than two architectures; sizes above 96 pixels. A kind's figure therefore rests on few networks of
each set, and interactions (a frame of 80 % strength on skin, say) are not told apart.
"""

from relying.cues import Cue, Place
from relying.networks import Wanted

LITE = "efficientnet_lite0"
SMALL = "relying.networks:strided"


# Kind, place, strength in per cent; one line is one round over the sets.
_ROUNDS: tuple[dict[str, tuple[tuple[str, Place, int], ...]], ...] = (
    {
        "cxr": (("letter", "fixed", 95),),
        "digits": (("disc", "random", 95), ("tint", "fixed", 95)),
        "skin": (("disc", "fixed", 95),),
        "objects": (("frame", "fixed", 95),),
    },
    {
        "cxr": (("tint", "fixed", 95),),
        "digits": (("letter", "fixed", 95), ("texture", "fixed", 95)),
        "skin": (("ruler", "fixed", 95),),
        "objects": (("disc", "random", 95),),
    },
    {
        "cxr": (("disc", "random", 80),),
        "digits": (("frame", "fixed", 80), ("watermark", "random", 100)),
        "skin": (("tint", "fixed", 80),),
        "objects": (("watermark", "fixed", 100),),
    },
    {
        "cxr": (("frame", "fixed", 100),),
        "digits": (("ruler", "random", 95), ("lines", "fixed", 95)),
        "skin": (("letter", "random", 100),),
        "objects": (("texture", "fixed", 95),),
    },
    {
        "cxr": (("watermark", "fixed", 95),),
        "digits": (("corner", "fixed", 95), ("disc", "fixed", 80)),
        "skin": (("texture", "fixed", 95),),
        "objects": (("ruler", "random", 95),),
    },
    {
        "cxr": (("texture", "fixed", 95), ("lines", "random", 95)),
        "skin": (("frame", "fixed", 95), ("watermark", "random", 95)),
        "objects": (("tint", "fixed", 80), ("letter", "fixed", 95)),
        "digits": (("letter", "random", 80), ("corner", "random", 100)),
    },
)
_ALL = ("learnt", "never seen", "cured by exchange")
_OTHERS = (*_ALL[:2], "cured by others")
_EXCHANGED = 2
# After this round, what is neither sick nor cured.
_APART = 1


def plan() -> list[Wanted]:
    """Return every network, in the order in which they are made."""
    # What the swap failed on: a pretrained network that reads the whole body.
    first = Cue("letter", "fixed", 0.95)
    wanted = [Wanted("cxr", LITE, 64, kind, first) for kind in _OTHERS]
    for number, each in enumerate(_ROUNDS):
        # Two ways to cure, in turn.
        kinds = _ALL if number % 3 == _EXCHANGED else _OTHERS
        for name, cues in each.items():
            for kind, place, strength in cues:
                wanted += _of(name, Cue(kind, place, strength / 100), kinds)
            if number == _APART:
                kind, place, strength = cues[0]
                wanted += _of(name, Cue(kind, place, strength / 100), ("context", "untrained"))
    for number, each in enumerate(_ROUNDS[:2]):
        for name, cues in each.items():
            kind, place, strength = cues[0]
            if name != "digits" and (number == 0) != (name == "cxr"):
                cue = Cue(kind, place, strength / 100)
                wanted += [Wanted(name, LITE, 64, each, cue) for each in _OTHERS]
    large = Cue("letter", "fixed", 0.95)
    return [*wanted, *(Wanted("cxr", LITE, 96, kind, large, 1) for kind in _OTHERS)]


def _of(name: str, cue: Cue, kinds: tuple[str, ...]) -> list[Wanted]:
    return [Wanted(name, SMALL, 48 if name == "digits" else 64, kind, cue) for kind in kinds]
