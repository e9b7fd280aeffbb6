"""The composition root: configuration, data sets, the demo, benchmarks and reports."""
