"""Published figures beside ours: accuracy in per cent with the cue at random, "average/worst".

Networks, lengths and selection differ (docs/how-to/learn.md says how), so trends compare, digits
do not. Sources: Ross et al. 2017 (their logs); Friedrich et al. 2023, "A typology for exploring
the mitigation of shortcut behaviour", tables; Heo et al. 2023, table 1; Ghitu et al. 2025 (their
logs); Bassi et al. 2024 (their results figure).
"""

from collections.abc import Mapping

PUBLISHED: Mapping[str, Mapping[str, str]] = {
    "A-digits": {
        "trained without the cue": "Ross 96.1, Friedrich 98.9",
        "ERM": "Ross 51.6, Friedrich 78.9, Ghitu 63.9/22.4",
        "RRR": "Ross 96.1, Friedrich 98.8, Ghitu 92.3/85.4",
        "Grad-CAM penalty": "Friedrich 97.4",
        "HINT, matching": "Friedrich 96.6",
        "RBR": "Friedrich 99.1",
        "CDEP": "Friedrich 97.1",
        "Counterexamples, noise": "Friedrich 98.9",
        "IBP-Ex": "Ghitu 89.7/83.7",
        "IBP-Ex + gradient": "Ghitu 93.1/88.1",
        "R4": "Ghitu 97.0/94.8",
        "Rand-R4": "Ghitu 93.3/88.9",
        "RRR, displaced masks": "Friedrich 82.2",
        "Grad-CAM penalty, displaced masks": "Friedrich 83.1",
    },
    "A-fashion": {
        "trained without the cue": "Friedrich 89.1",
        "ERM": "Friedrich 58.3",
        "RRR": "Friedrich 89.4",
        "Grad-CAM penalty": "Friedrich 78.6",
        "Counterexamples, noise": "Friedrich 87.7",
        "CDEP": "Friedrich 76.7",
        "HINT, matching": "Friedrich 58.2",
    },
    "B": {
        "ERM": "Heo 15.1/10.5, Ghitu 23.0/10.8",
        "RRR": "Heo 72.5/46.2",
        "CDEP": "Heo 14.5/10.0",
        "Rand-Ex": "Heo 29.5/19.5",
        "PGD-Ex": "Heo 67.6/51.4",
        "PGD-Ex + gradient": "Heo 96.9/95.8",
        "IBP-Ex": "Heo 68.1/47.6",
        "IBP-Ex + gradient": "Heo 96.9/95.0",
        "GroupDRO": "Heo 64.1/28.1",
        "R4": "Ghitu 68.0/40.7",
    },
    "C": {
        "trained without the cue": "Bassi 98.7",
        "ERM": "Bassi 16.9",
        "GroupDRO": "Bassi 52.2",
        "TEA": "Bassi 98.2",
    },
    "D5": {"ERM": "Ross 100.0 on either rule", "RRR": "Ross 100.0"},
    "D6": {"ERM": "Ross 81.1", "RRR": "Ross 92"},
}
