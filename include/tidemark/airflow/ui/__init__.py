"""What Airflow's own services load: the plugin, its page, the pool and the listener of imports."""
