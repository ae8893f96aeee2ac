"""A market of machines in virtual time: capacity that comes and goes, notices, lost zones, prices."""
