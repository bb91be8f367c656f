"""A stranger's walk from a checkpoint to the first explained answer, as the page tells it."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from models.registry import Registry
from services import settings
from services.commands import cli
from tests import graphs

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "your-own-model.md"
SERVING = ("rightly serve", "curl")  # a running server; tests/system starts one


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", HOW_TO.read_text("utf-8"), re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(SERVING)]


@pytest.mark.slow
def test_the_walk_leads_to_an_explained_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415 - to leave a checkpoint as somebody's training would
    import torchvision  # noqa: PLC0415

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=2).eval()
    torch.save(network.state_dict(), "checkpoint.pt")
    theirs = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(73),
            torchvision.transforms.CenterCrop(64),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    Path("photographs").mkdir()
    rows = ["path,cat,dog"]
    for number, colour in enumerate(graphs.CLASSES):
        path = Path(f"photographs/{number}.jpg")
        Image.fromarray(graphs.patch(colour)).resize((90, 120)).save(path)
        with Image.open(path) as image, torch.no_grad():
            cat, dog = network(theirs(image)[None]).softmax(1)[0].tolist()
        rows.append(f"{path},{cat:.6f},{dog:.6f}")
    Path("predictions.csv").write_text("\n".join(rows))
    runner = CliRunner()

    for command in commands():
        result = runner.invoke(cli.app, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}"

    registry = Registry(settings.load().registry)
    assert settings.load().default_among(registry.models()) == "pets"
    with Image.open("why.png") as drawn:
        assert drawn.size[0] >= 64
    recipe = registry.versions("pets")[-1].card.fields.lineage.recipe
    assert recipe["expected_images"] == 3
    assert recipe["expected_difference"] < 1e-4
