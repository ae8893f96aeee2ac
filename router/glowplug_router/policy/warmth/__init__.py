"""How long is what kept, and at which level of the warm ladder?"""
