"""Modes are put back module by module, also after an exception."""

import pytest
from torch import nn

from models.modes import evaluation_mode, training_mode


def network() -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    made[2].eval()
    return made


def modes(made: nn.Sequential) -> list[bool]:
    return [each.training for each in made]


def test_evaluation_mode_is_of_all_modules_and_ends() -> None:
    made = network()
    with evaluation_mode(made):
        assert modes(made) == [False, False, False]

    assert modes(made) == [True, True, False]


@pytest.mark.parametrize("frozen", [True, False])
def test_training_mode_may_leave_batch_normalisation_alone(*, frozen: bool) -> None:
    made = network().eval()
    with training_mode(made, freeze_batchnorm=frozen):
        assert modes(made) == [True, not frozen, True]

    assert modes(made) == [False, False, False]


def test_modes_are_put_back_after_an_exception() -> None:
    made = network()
    with pytest.raises(KeyError), evaluation_mode(made):
        raise KeyError

    assert modes(made) == [True, True, False]
