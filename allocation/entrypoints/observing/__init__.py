"""What a part says of itself on a port of its own: is it alive, can it do its work, what has it done."""
