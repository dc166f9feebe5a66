"""What the appliance keeps watch over: the audit log."""
