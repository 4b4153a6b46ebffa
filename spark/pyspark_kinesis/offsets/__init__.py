"""Where a query is: offsets, the ledger beside the checkpoint, and what stores it."""
