"""What is installed and what is missing, as the distributions themselves say."""

from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from services.parts import known


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages: `whole`, and a file of it."""
    inside = tmp_path / "whole-1.0.dist-info"
    inside.mkdir()
    (inside / "METADATA").write_text("Metadata-Version: 2.1\nName: whole\nVersion: 1.0\n")
    (inside / "RECORD").write_text("whole.py,,\nwhole-1.0.dist-info/METADATA,,\n")
    (tmp_path / "whole.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_installation_that_was_cut_short_is_noticed(place: Path) -> None:
    assert "whole" not in known.damaged()

    (place / "whole.py").unlink()

    assert "whole" in known.damaged()


def test_every_extra_is_a_part_that_the_doctor_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Message()
    for each in ("cpu", "gpu", "train", "new"):
        listed["Provides-Extra"] = each
    monkeypatch.setattr(metadata, "metadata", lambda _name: listed)

    assert [each.extra for each in known.parts()][-1] == "new"
    assert [each.extra for each in known.parts()].count("train") == 1
    assert {"cpu", "gpu"} & {each.extra for each in known.parts()} == set()


def test_requirements_are_those_of_the_extra_alone() -> None:
    core, training = known.requirements(""), known.requirements("train")

    assert any(each.startswith("bentoml") for each in core)
    assert any(each.startswith("torch") for each in training)
    assert not any(each.startswith("torch") for each in core)
    assert not any(";" in each for each in [*core, *training])


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [
        'pillow>=1; extra == "dicom"',
        'absent-of-ours[x]<2,>=1; extra == "dicom"',
        "numpy>=2",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _name: listed)

    assert known.missing("dicom") == ["absent-of-ours"]
    assert known.missing("") == []
    with pytest.raises(known.UnknownPartError, match="no extra 'ray'"):
        known.missing("ray")


def test_an_unknown_part_is_answered_with_those_there_are() -> None:
    with pytest.raises(known.UnknownPartError, match="retraining, imagenet"):
        known.part("torch")
    assert known.part("train") == known.part("retraining")
