"""Which devices of which node does a replica get? Vectors of shares and memory, packed; ADR 0020 says why so."""
