"""What runs inside a rank? One process that holds one replica: user code, permits, two sockets."""
