"""Where poses go: `broker` connects and says why it cannot, `mqtt` delivers without losing any."""
