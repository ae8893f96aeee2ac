"""What does `glowplug up` run? `main` keeps three children, `roles` says what they do, `up_file` who runs here."""
