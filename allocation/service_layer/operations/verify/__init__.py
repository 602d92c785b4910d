"""Compare commands, database and topics: each says the whole story, and the three must tell the same.

Nothing here asks the domain what it would decide. The events are replayed as facts, the quantities are
folded from the commands, and every record is looked up in what claims to know its fate; so a mistake
of the code that decided cannot hide itself.
"""
