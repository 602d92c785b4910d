"""PostgreSQL: the database that the service owns."""
