"""What the operator does with the logs: read them again, pass over a part, publish events again."""
