"""The batch layer: event dates recomputed from bronze, checked and published."""
