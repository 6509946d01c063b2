"""``python -m lrp_monitor.cli`` is ``lrp-monitor``."""

import sys

from lrp_monitor.cli.main import main

sys.exit(main())
