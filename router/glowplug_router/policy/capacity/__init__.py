"""Which machines are launched, kept, stopped and given back?"""
