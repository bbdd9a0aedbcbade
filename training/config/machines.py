"""Machines that a run is planned for, and assumptions about them. Loads no heavy library."""

from dataclasses import dataclass

from data_pipeline.cli.bounds import bounded, refuse_out_of_bounds

# Dense products of an NVIDIA H100 SXM by its data sheet, 1e12 FLOPs a second.
_H100_TERAFLOPS = {"float32": 67.0, "tf32": 494.0, "bfloat16": 989.0}
# Shares of them that a step of 8 clips of 5 frames of 432x240 reached on one, bfloat16 compiled:
# tests/benchmarks/README.md, 0.173, 0.485 and 1.2 to 1.3 s a step.
_H100_MEASURED = {"float32": 0.43, "tf32": 0.15, "bfloat16": 0.22}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Read with --plan only; figures of the devices are those of an NVIDIA H100 SXM."""

    nodes: int = bounded(1, 1, 10**5)
    """Machines."""
    gpus_per_node: int = bounded(8, 1, 1024)
    """GPUs of each machine, a worker for each."""
    frame_width: int = bounded(432, 1, 2**14)
    """Width of a frame, pixels (a real run takes the data set's)."""
    frame_height: int = bounded(240, 1, 2**14)
    """Height of a frame, pixels (likewise)."""
    peak_teraflops: float = bounded(0.0, 0, 1e6)
    """1e12 FLOPs a second of one GPU by its data sheet; 0 = an H100's at the run's precision."""
    utilisation: float = bounded(0.0, 0, 1)
    """Share of that peak that one GPU reaches alone (MFU); 0 = as measured on one H100."""
    gpu_gib: float = bounded(80.0, 0, 1e5, above=True)
    """Memory of a GPU, GiB."""
    link_gb_per_s: float = bounded(450.0, 0, 1e12, above=True)
    """1e9 bytes a second that a GPU sends to others of its node."""
    network_gb_per_s: float = bounded(50.0, 0, 1e12, above=True)
    """1e9 bytes a second that a GPU sends to other nodes."""
    latency_us: float = bounded(20.0, 0, 1e6)
    """Microseconds that each collective costs however little it carries: an assumption."""

    def __post_init__(self) -> None:
        """Check ranges."""
        refuse_out_of_bounds(self)

    @property
    def workers(self) -> int:
        """GPUs of all machines."""
        return self.nodes * self.gpus_per_node

    def peak(self, precision: str) -> float:
        """FLOPs a second of one GPU by its data sheet."""
        return 1e12 * (self.peak_teraflops or _H100_TERAFLOPS[precision])

    def reached(self, precision: str) -> float:
        """Share of that peak that one GPU reaches alone."""
        return self.utilisation or _H100_MEASURED[precision]

    @property
    def measured(self) -> bool:
        """True where peak and share are those of the H100 that was measured."""
        return not self.utilisation and not self.peak_teraflops
