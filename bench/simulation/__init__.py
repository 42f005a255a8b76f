"""A machine in virtual time, the ways to share it that are compared, and the traces they are compared on."""
