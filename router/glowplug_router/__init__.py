"""Who answers a call, where, and how many should run? Gateway, planner and controller."""
