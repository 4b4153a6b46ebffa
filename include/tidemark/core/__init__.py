"""What every other room stands on: settings, errors, locks, processes, and the names of columns."""
