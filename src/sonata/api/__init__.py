"""HTTP surfaces: northbound, the OpenStack of each PoP, and the emulator's own."""
