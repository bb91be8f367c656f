from pathlib import Path

import pytest

from services import settings


def test_defaults_live_below_home() -> None:
    loaded = settings.load({"RIGHTLY_HOME": "/srv/rightly"})

    assert Path("/srv/rightly/registry") == loaded.registry
    assert loaded.store == "sqlite:////srv/rightly/audit.db"


def test_the_environment_wins_over_the_file(tmp_path) -> None:
    file = tmp_path / "rightly.toml"
    file.write_text("port = 4000\nqueue = 7\n")
    loaded = settings.load({"RIGHTLY_PORT": "5000"}, file)

    assert (5000, 7) == (loaded.port, loaded.queue)


def test_the_file_may_be_named_by_the_environment(tmp_path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('default_model = "lesions"\n')

    assert settings.load({"RIGHTLY_CONFIG": str(file)}).default_model == "lesions"


def test_a_child_process_reads_the_same_settings() -> None:
    loaded = settings.load({"RIGHTLY_HOME": "/srv/rightly", "RIGHTLY_RECORDING": "off"})

    assert settings.load(settings.environment(loaded)) == loaded


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RIGHTLY_PROT": "1"}, "did you mean port"),
        ({"RIGHTLY_PORT": "tcp://10.0.0.1:3000"}, "port: "),
        ({"RIGHTLY_DEVICE": "tpu"}, "device: "),
        ({"RIGHTLY_CONFIG": "/nowhere/rightly.toml"}, "/nowhere/rightly.toml"),
    ],
)
def test_a_mistake_is_named(environ, message) -> None:
    with pytest.raises(settings.SettingsError, match=message):
        settings.load(environ)


def test_every_setting_is_documented() -> None:
    silent = [
        name for name, field in settings.Settings.model_fields.items() if not field.description
    ]

    assert [] == silent


def test_a_serving_child_reads_the_same_settings_from_any_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGHTLY_CONFIG", "rightly.toml")
    monkeypatch.setenv("UNRELATED", "kept")
    loaded = settings.load({"RIGHTLY_QUEUE": "7"})

    environ = settings.serving_environment(loaded)
    monkeypatch.chdir("/")
    child = settings.load(environ)

    assert child.queue == 7
    assert tmp_path / "var" == child.home
    assert tmp_path / "var" / "registry" == child.registry
    assert f"sqlite:///{tmp_path}/var/audit.db" == child.store
    assert environ["BENTOML_HOME"] == f"{tmp_path}/var/bentoml"
    assert environ["BENTOML_DO_NOT_TRACK"] == "True"
    assert environ["UNRELATED"] == "kept"


@pytest.mark.parametrize(
    "store", ["postgresql://db/audit", "sqlite:///:memory:", "sqlite:////a.db"]
)
def test_a_store_that_is_no_relative_file_stays_as_it_is(store) -> None:
    environ = settings.serving_environment(settings.load({"RIGHTLY_STORE": store}))

    assert store == settings.load(environ).store
