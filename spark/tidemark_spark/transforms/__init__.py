"""What both layers do to records and events: parse, apply rules, roll up, stage."""
