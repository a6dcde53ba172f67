"""Running compiled programs: the CPU's threads and executables, and NVIDIA's driver."""
