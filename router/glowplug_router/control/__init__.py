"""How do people and machines tell the router what to run? Control API, deployments, agents' and gateways' channel."""
