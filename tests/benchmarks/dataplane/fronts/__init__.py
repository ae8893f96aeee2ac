"""What could stand in front of the same engine instead of our protocol class? Two answers, for measuring only."""
