"""What a Spark job needs to start: its configuration, jars, packages, an archive of its classes. No Spark here."""
