"""The ports in real technology; adapters do not import each other, the composition root joins them."""
