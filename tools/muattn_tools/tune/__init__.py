"""./dev tune: searches the numbers of the schedules."""
