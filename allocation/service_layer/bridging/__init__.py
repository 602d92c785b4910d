"""The bridge between Kafka and the programs that know only Redis and e-mail.

Inbound, Redis pub/sub has no memory: exactly one bridge may forward, so each works under a lease and
behind Kafka's fence, and what it has taken from Redis it forwards once. Outbound, what Kafka has
committed is passed on at least once, from a position that lies in our database.
"""
