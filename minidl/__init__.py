"""minidl: a small neural-network framework in readable NumPy."""
