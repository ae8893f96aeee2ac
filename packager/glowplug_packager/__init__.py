"""How does a source tree become something a node can run?"""
