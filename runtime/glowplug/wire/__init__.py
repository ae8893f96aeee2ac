"""How do glowplug's processes talk? Multiplexed frames over stream sockets, the same for data and control."""
