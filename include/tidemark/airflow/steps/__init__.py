"""What the tasks of the DAGs do, and the forms that a person fills in to trigger them."""
