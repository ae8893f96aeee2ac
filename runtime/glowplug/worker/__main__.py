"""`python -m glowplug.worker --fd N`: be the rank whose launch record is on that descriptor."""

import sys

from glowplug.worker.main import main

sys.exit(main(sys.argv[1:]))
