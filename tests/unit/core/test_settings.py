"""Settings come from TIDEMARK_* variables, are frozen, and a malformed one is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from tidemark.core.errors import SettingsError
from tidemark.core.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_everything_follows_from_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TIDEMARK_LAKE_URI", "TIDEMARK_STATE_URI", "TIDEMARK_JARS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path))
    settings = get_settings()
    assert settings.lake_uri == str(tmp_path / "lake")
    assert settings.state_uri == str(tmp_path / "state")
    assert settings.jars_dir == tmp_path / "jars"


def test_a_variable_overrides_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_LAKE_URI", "s3://bucket/lake")
    monkeypatch.setenv("TIDEMARK_STORAGE_OPTIONS", '{"AWS_REGION": "eu-central-1"}')
    assert get_settings().lake_uri == "s3://bucket/lake"
    assert get_settings().storage_options == {"AWS_REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("TIDEMARK_TRIGGER_SECONDS", "soon"), ("TIDEMARK_TRIGGER_SECONDS", "-1"), ("TIDEMARK_MAX_RECORDS_PER_BATCH", "0")],
)
def test_a_malformed_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        get_settings()


def test_settings_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().aws_region = "eu-west-1"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="lake_url"):
        Settings(lake_url="/somewhere")  # type: ignore[call-arg]
