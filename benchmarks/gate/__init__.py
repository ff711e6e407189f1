"""What the gate's verdict costs beside the same checks written by hand as one SQL statement."""
