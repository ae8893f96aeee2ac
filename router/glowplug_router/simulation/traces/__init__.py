"""Which traffic and machines can be replayed? Loaders of public formats, and generators fitted to public facts."""
