"""The probe set: fixed samples that are explained at every log."""

from lrp_monitor.probes.inputs import montage
from lrp_monitor.probes.probe_set import ProbeSet

__all__ = ["ProbeSet", "montage"]
