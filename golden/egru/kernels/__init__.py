"""Event-driven kernels of one layer, in C++, compiled on first use for the machine at hand."""
