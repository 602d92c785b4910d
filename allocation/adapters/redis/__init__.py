"""Redis pub/sub, for the programs that know nothing else. What is on it is never handled directly."""
