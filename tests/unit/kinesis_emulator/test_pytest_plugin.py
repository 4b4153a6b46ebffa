"""The fixtures that other projects get: tests of theirs are run in a pytest of their own."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_ROOT = Path(__file__).parents[3]
_TEST = """
    import boto3
    import pytest

    @pytest.mark.parametrize("name", ["one", "two"])
    def test_a_record_comes_back(kinesis_emulator_client_arguments, name):
        kinesis = boto3.client("kinesis", **kinesis_emulator_client_arguments)
        kinesis.create_stream(StreamName=name, ShardCount=1)
        kinesis.put_record(StreamName=name, Data=b"1", PartitionKey="k")
        place = dict(ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")
        token = kinesis.get_shard_iterator(StreamName=name, **place)["ShardIterator"]
        assert [record["Data"] for record in kinesis.get_records(ShardIterator=token)["Records"]] == [b"1"]

    def test_it_is_one_emulator_with_the_options_that_are_configured(
        kinesis_emulator_endpoint, kinesis_emulator_client_arguments
    ):
        kinesis = boto3.client("kinesis", **kinesis_emulator_client_arguments)
        assert kinesis.meta.endpoint_url == kinesis_emulator_endpoint
        assert kinesis.list_streams()["StreamNames"] == ["one", "two"]
        arn = kinesis.describe_stream_summary(StreamName="one")["StreamDescriptionSummary"]["StreamARN"]
        assert "eu-central-1" in arn
"""


def test_the_fixtures_give_a_running_emulator(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where the package is installed, pytest finds the plugin by itself, and would take it twice.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini('[pytest]\nkinesis_emulator_options = --create-milliseconds 0 --region "eu-central-1"\n')
    pytester.makepyfile(_TEST)
    result = pytester.runpytest_subprocess("-p", "kinesis_emulator.pytest_plugin")
    result.assert_outcomes(passed=3)


def test_the_readmes_example_passes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (_ROOT / "packages/kinesis-emulator/README.md").read_text()
    [example] = re.findall(r"^    import boto3\n.*?(?=^\S)", readme, re.MULTILINE | re.DOTALL)
    [options] = re.findall(r"`(kinesis_emulator_options = .*?)`", readme)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(f"[pytest]\n{options}\n")
    pytester.makepyfile(example)
    result = pytester.runpytest_subprocess("-p", "kinesis_emulator.pytest_plugin")
    result.assert_outcomes(passed=1)


def test_options_that_cannot_be_are_told_as_the_emulator_tells_them(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nkinesis_emulator_options = --host 192.0.2.1\n")
    pytester.makepyfile("def test_it(kinesis_emulator_endpoint): pass")
    result = pytester.runpytest_subprocess("-p", "kinesis_emulator.pytest_plugin")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*error: 192.0.2.1:0 cannot be bound*choose --port*"])


def test_pytest_finds_them_by_the_entry_point_of_the_project() -> None:
    project = tomllib.loads((_ROOT / "packages/kinesis-emulator/pyproject.toml").read_text())["project"]
    plugin = importlib.import_module(project["entry-points"]["pytest11"]["kinesis_emulator"])
    assert plugin.kinesis_emulator_endpoint is not None


def test_the_package_itself_needs_no_pytest() -> None:
    code = "import sys, kinesis_emulator, kinesis_emulator.__main__; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
