"""What the operator's commands do: each is a use case of its own, apart from the handling of messages."""
