"""From a plan of a micro-batch to its rows: the planner, the tasks, the readers of each Spark."""
