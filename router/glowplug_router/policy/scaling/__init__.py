"""How many replicas is a version worth, and how fast is that followed?"""
