"""The committed bundle of the dashboard page; a package so that wheels carry it."""
