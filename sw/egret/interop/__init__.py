"""Networks that come from other libraries, and go to them."""
