"""The Kinesis API as AWS' model of the service has it: its operations, and what a request may hold.

``model.json`` is derived from botocore's model by ``scripts/kinesis_service.py``. So the emulator runs without
botocore, which is large, and refuses the same whichever version of it is installed.
"""

from kinesis_emulator.service.requests import OPERATIONS, check_request, values_of

__all__ = ["OPERATIONS", "check_request", "values_of"]
