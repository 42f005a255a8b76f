"""The stack as services of launchd (macOS) or systemd (Linux): what they are, how they are written, loaded and found again."""
