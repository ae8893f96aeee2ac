"""The parts of `make bench-dataplane`: servers, loads, and the rows of figures taken with them."""
