"""Messages, as `generate` makes them."""
