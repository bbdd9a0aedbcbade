"""Machines that a run is planned for, and what is assumed of them. Without heavy libraries."""

from dataclasses import dataclass

from data_pipeline.door import UserError
from training.config import flag, refuse_below

# Dense products of an NVIDIA H100 SXM by its data sheet, 1e12 FLOPs a second.
_H100_TERAFLOPS = {"float32": 67.0, "tf32": 494.0, "bfloat16": 989.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Read with --plan only; figures of the devices are those of an NVIDIA H100 SXM."""

    nodes: int = 1
    """Machines."""
    gpus_per_node: int = 8
    """GPUs of each machine, a worker for each."""
    frame_width: int = 432
    """Width of a frame, pixels (a real run takes the data set's)."""
    frame_height: int = 240
    """Height of a frame, pixels (likewise)."""
    peak_teraflops: float = 0.0
    """1e12 FLOPs a second of one GPU by its data sheet; 0 = an H100's at the run's precision."""
    reached: float = 0.4
    """Share of that peak that one GPU reaches alone: an assumption, never measured here."""
    gpu_gib: float = 80.0
    """Memory of a GPU, GiB."""
    link_gb_per_s: float = 450.0
    """1e9 bytes a second that a GPU sends to others of its node."""
    network_gb_per_s: float = 50.0
    """1e9 bytes a second that a GPU sends to other nodes."""
    latency_us: float = 20.0
    """Microseconds that each collective costs however little it carries: an assumption."""

    def __post_init__(self) -> None:
        """Check ranges."""
        refuse_below(self, ("nodes", "gpus_per_node", "frame_width", "frame_height"), 1)
        refuse_below(self, ("peak_teraflops", "latency_us"), 0)
        for name in ("gpu_gib", "link_gb_per_s", "network_gb_per_s"):
            if not getattr(self, name) > 0:
                raise UserError(f"{flag(name)} is {getattr(self, name)}; it must be above 0")
        if not 0 < self.reached <= 1:
            raise UserError(f"--reached is {self.reached}; it must lie above 0 and up to 1")

    @property
    def workers(self) -> int:
        """GPUs of all machines."""
        return self.nodes * self.gpus_per_node

    def peak(self, precision: str) -> float:
        """FLOPs a second of one GPU by its data sheet."""
        return 1e12 * (self.peak_teraflops or _H100_TERAFLOPS[precision])
