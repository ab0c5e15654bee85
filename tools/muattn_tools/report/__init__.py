"""./dev report: what the kernels for processors tell without a stopwatch."""
