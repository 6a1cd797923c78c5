"""The daemon as a service of this computer: `install` and uninstall, `upgrade` with a way back, by printed `steps`."""
