"""What must be true of an installation, found out from outside.

Nothing here imports the package: commands are made and events read by plain Kafka and Avro clients,
tables by plain SQL, and the domain is written a second time. What both sides would get wrong alike
is left to the people who read `model.py`.
"""
