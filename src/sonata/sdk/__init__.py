"""What developers script with: clients of a running platform or emulator, packages, the demo."""
