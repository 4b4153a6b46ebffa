"""The main job on the embedded default: real flights from Kinesis to the analyst, with a proof at the end."""
