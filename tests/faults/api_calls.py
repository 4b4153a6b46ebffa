"""Five calls of Airflow's API at once beside a scheduler that works, 200 rounds: no error, and each soon answered.

By hand: `make faults-calls ARGS="--rounds 200"`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from airflow_calls import measure_calls
from airflow_world import AirflowWorld, free_port
from layers import make_tables

from tidemark.core.settings import Settings, get_settings
from tidemark.embedded.platform import Platform, PlatformOptions
from tidemark.pipelines.flights import flights

DAG = "flights.reprocess"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="api-calls-", ignore_cleanup_errors=True) as folder:
        settings = Settings(home=Path(folder), jars_dir=get_settings().jars_dir)
        options = PlatformOptions(kinesis_port=None, airflow_port=free_port(), paused=True, durable=False)
        with Platform(settings, options, print) as platform:
            platform.claim("the calls' platform")
            platform.start(print)
            make_tables(flights, settings)
            world = AirflowWorld(settings, platform, [])
            world.wait_until_it_reads_the_dags()
            world.switch_on(DAG)
            for _ in range(20):
                world.trigger(DAG, **{"from": "2013-01-01", "to": "2013-01-03", "dry_run": True})
            calls = measure_calls(world.url, given.rounds, progress=20)
            restarts = sum(one.restarts for one in platform.supervisor.parts.values())
        platform.remove()
    print(
        f"{given.rounds} rounds: {len(calls.errors)} errors, median {calls.median_seconds * 1000:.0f} ms, "
        f"longest {calls.longest_seconds * 1000:.0f} ms, {restarts} parts ended"
    )
    for error in calls.errors[:10]:
        print(error)
    return bool(calls.errors or restarts or calls.median_seconds > 1)


if __name__ == "__main__":
    sys.exit(main())
