"""The procedural world that the demo, the tests and the benchmarks run on."""
