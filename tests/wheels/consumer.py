"""Code of a stranger, whose types are checked against the installed wheels; the last two lines are wrong on purpose."""

from kinesis_emulator import running_emulator
from pyspark_kinesis.errors import OptionError
from pyspark_kinesis.options.stream import parse

with running_emulator(arguments=("--limits",)) as url:
    options = parse({"streamName": "clicks", "endpointUrl": url, "ledgerLocation": "ledger"})
    regions: str = options.region
try:
    limit: int = options.max_bytes
except OptionError as error:
    raise SystemExit(str(error)) from error
streams: int = options.streams
running_emulator(port="any")
