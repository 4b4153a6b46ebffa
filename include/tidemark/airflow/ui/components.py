"""What Airflow's listeners are told of when something starts."""


def is_service(component: object) -> bool:
    """Whether it is a scheduler, a DAG processor or a triggerer, and not a task, which may not ask the database.

    A service does not know yet which of them it is.
    """
    return type(component).__name__ == "Job"
