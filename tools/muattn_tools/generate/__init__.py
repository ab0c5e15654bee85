"""./dev generate: libraries for any target."""
