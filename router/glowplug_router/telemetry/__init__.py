"""How does the router tell what it does?"""
