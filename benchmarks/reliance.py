"""Which measure tells networks that rely on a cue from networks that do not.

    RIGHTLY_DATA=… python benchmarks/reliance.py [--quick] [--json FILE] [--device cuda] [--print]

Every cell (set × network × cue) is a small file below benchmarks/results/reliance: the truth, by
accuracy with the cue agreeing, disagreeing and absent, and every candidate measure. What is there
is not computed again. Weights and values per image lie in --kept, outside of the repository, so
that new candidates can be measured without training anew. `--quick` makes the digits' first nine
networks and keeps nothing. The status is 1 where the chosen measure misses what it promises.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import flat
import numpy as np
import torch
from relying import choosing
from relying.cues import plant
from relying.design import plan
from relying.measuring import Asked, asking, measure
from relying.networks import Wanted, network, told
from relying.sets import Split, read

from models.architectures import Classifier

_RESULTS = Path(__file__).parent / "results" / "reliance"
_KEPT = Path(tempfile.gettempdir()) / "rightly-reliance"
_DRAWS = 12
# Most rows of a class that are probed.
_PROBED = 32


def main() -> int:
    """Compute what is missing, print the tables, and answer whether every promise is kept."""
    asked = _arguments()
    torch.set_num_threads(1)
    data = Path(os.environ.get("RIGHTLY_DATA", "../shared/data"))
    if not data.is_dir():
        print(f"no images in {data}; set RIGHTLY_DATA to run this benchmark")
        return 0
    wanted = [each for each in plan() if not asked.set or each.set in asked.set]
    if asked.quick:
        wanted = [each for each in wanted if each.set == "digits"][:9]
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(passing) if asked.quick else asked.results
        kept = Path(passing) / "kept" if asked.quick else asked.kept
        cells = _cells(wanted, data, folder, kept, asked.device, missing=not asked.print)
    tables = choosing.tables(cells)
    flat.write(asked.json, tables.figures)
    print(*tables.lines, sep="\n")
    return 0 if asked.quick or tables.met else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures of reliance, against known reliance.")
    parser.add_argument("--quick", action="store_true", help="nine small networks")
    flat.add_argument(parser)
    parser.add_argument("--set", action="append", help="repeatable; else all of them")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--print", action="store_true", help="compute nothing that is missing")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    parser.add_argument("--kept", type=Path, default=_KEPT, help="weights, values per image")
    return parser.parse_args()


def _cells(
    wanted: list[Wanted], data: Path, folder: Path, kept: Path, device: str, *, missing: bool
) -> list[dict[str, Any]]:
    cells = []
    for each in wanted:
        path = folder / each.set / f"{each.name}.json"
        if path.is_file():
            cells.append(json.loads(path.read_text()))
        elif missing:
            begun = perf_counter()
            cell = _cell(each, data, kept, device)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            partial.write_text(json.dumps(cell, indent=1) + "\n")
            partial.replace(path)
            cells.append(cell)
            truth = cell["truth"]
            print(
                f"{each.set} {each.name}: {perf_counter() - begun:.0f} s, accuracy "
                f"{truth['agrees']:.3f} / {truth['disagrees']:.3f} / {truth['absent']:.3f}",
                file=sys.stderr,
                flush=True,
            )
    return cells


def _cell(wanted: Wanted, data: Path, kept: Path, device: str) -> dict[str, Any]:
    begun = perf_counter()
    made = network(wanted, data, kept, device)
    trained = perf_counter() - begun
    split = read(data, wanted.set, "test", wanted.side, _PROBED)
    images, cues = plant(
        split.images,
        split.regions,
        told(split, "coin", seed=wanted.seed),
        wanted.cue,
        seed=wanted.seed + 1,
    )
    begun = perf_counter()
    found = measure(made, Asked(images, split.regions, cues), device, seed=wanted.seed)
    kept.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(kept / f"{wanted.set}.{wanted.name}.npz", maps=found.maps, **found.values)
    rng = np.random.default_rng(41)
    rows = {size: rng.integers(0, len(split.labels), (_DRAWS, size)) for size in choosing.SIZES}
    return {
        "set": wanted.set,
        "architecture": wanted.architecture,
        "side": wanted.side,
        "network": wanted.kind,
        "kind": wanted.cue.kind,
        "place": wanted.cue.place,
        "strength": wanted.cue.strength,
        "seed": wanted.seed,
        "images": len(split.labels),
        "truth": _truth(made, split, wanted, device),
        "cue_area": round(float(cues.mean()), 4),
        "cue_in_most_telling_cell": round(found.place, 4),
        "seconds": {"training": round(trained, 1), "measuring": round(perf_counter() - begun, 1)},
        "measures": {
            name: {
                "mean": round(float(values.mean()), 4),
                "deviation": round(float(values.std()), 4),
                "passes": found.passes[name],
                "draws": {
                    str(size): [round(float(v), 4) for v in values[each].mean(axis=1)]
                    for size, each in rows.items()
                },
            }
            for name, values in found.values.items()
        },
    }


def _truth(made: Classifier, split: Split, wanted: Wanted, device: str) -> dict[str, float]:
    """Return accuracy with the cue agreeing, disagreeing and absent."""
    ask = asking(made, device)
    truth = {"absent": split.images}
    for how in ("agrees", "disagrees"):
        truth[how], _ = plant(
            split.images,
            split.regions,
            told(split, how, seed=0),
            wanted.cue,
            seed=wanted.seed + 1,
        )
    return {
        how: round(float((ask(images).argmax(axis=1) == split.labels).mean()), 4)
        for how, images in truth.items()
    }


if __name__ == "__main__":
    sys.exit(main())
