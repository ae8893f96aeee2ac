"""How do people use a router from a terminal? One module a family of verbs."""
