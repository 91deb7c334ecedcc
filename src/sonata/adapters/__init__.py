"""One package per foreign technology; none knows another."""
