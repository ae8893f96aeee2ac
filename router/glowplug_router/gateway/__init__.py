"""How does a call from outside reach a replica? The data plane: HTTP on one side, data links on the other."""
