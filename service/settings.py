"""One Settings class: every knob, with its unit, bound and description.

environment (REVERIE_…) | .env ──► Settings (frozen) ──► create_app(settings)
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator may set; each field is also the environment variable REVERIE_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix="REVERIE_", env_file=".env", extra="ignore", frozen=True, protected_namespaces=()
    )

    models_store: Path = Field(
        Path("models_store"), description="Folder of model packages, <name>/<version>/."
    )
    data_dir: Path = Field(
        Path(".reverie"), description="Folder for what the service itself writes."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda|cuda:\d+(,cuda:\d+)*)$",
        description="Where models run: auto (every GPU, else CPU), cpu, cuda (every GPU), cuda:N, "
        "or several: cuda:0,cuda:1.",
    )
    gpu_memory_limit_mib: int = Field(
        0,
        ge=0,
        le=1_048_576,
        description="GPU memory that the arena of one model function may take, in MiB; 0: no "
        "limit.",
    )
    threads_per_model: int = Field(
        1, ge=1, le=256, description="Threads inside one call of one model's function."
    )
    allow_torchscript: bool = Field(
        default=False,
        description="Load TorchScript functions, which are programs that can read and write files: "
        "only from those you trust.",
    )
    api_keys: tuple[str, ...] = Field(
        (), description="Keys that clients must send as 'Authorization: Bearer KEY'; none: open."
    )

    max_body_bytes: int = Field(
        64 * 2**20, ge=1024, description="Largest request body, in bytes; larger: 413."
    )
    max_rows: int = Field(1024, ge=1, le=65536, description="Most rows in one answer.")
    max_sweeps: int = Field(10_000, ge=1, description="Most Gibbs sweeps a row.")
    max_frames: int = Field(256, ge=2, description="Most frames in one interpolation.")
    batch_rows: int = Field(
        32, ge=1, le=4096, description="Most rows in one call of a map function."
    )
    chain_slots: int = Field(256, ge=1, le=65536, description="Chains that run side by side.")
    pool_rows: int = Field(
        64, ge=0, le=65536, description="Warm chains that idle time keeps for each energy model."
    )
    queue_rows: int = Field(
        8192, ge=1, description="Most rows waiting for one model; beyond: 429 with Retry-After."
    )
    default_timeout_s: float = Field(
        60.0, gt=0, le=3600, description="A request's deadline when it names none, in seconds."
    )
    max_order_rows: int = Field(
        1_000_000_000, ge=1, le=2_000_000_000, description="Most rows in one augmentation order."
    )
    max_open_orders: int = Field(
        100, ge=1, description="Most orders that have not ended; beyond: 429 with Retry-After."
    )
    max_running_orders: int = Field(
        2, ge=1, le=64, description="Orders that are worked on side by side; others are queued."
    )
    augment_backend: Literal["local", "ray"] = Field(
        "local", description="Who makes the files of orders: this process, or a Ray cluster."
    )
    ray_address: str = Field(
        "",
        description="Ray cluster that makes orders: HOST:PORT of its head, or auto; empty: "
        "RAY_ADDRESS, else one on this machine for as long as the order runs.",
    )
    ray_workers: int = Field(
        2, ge=1, le=4096, description="Most Ray actors of one order; each loads the model once."
    )
    ray_gpus_per_worker: float = Field(
        0.0, ge=0, le=16, description="GPUs that a Ray actor asks for; 0: it runs on a CPU."
    )
    order_reports: bool = Field(
        default=True,
        description="Make a quality report of every order, in a process of low priority, unless "
        "the order says no.",
    )
    order_ttl_s: float = Field(
        7 * 86400.0, gt=0, description="Seconds after its end that an order and its files are kept."
    )
    fast_lane: bool = Field(
        True,
        description="Answer seeded samples of generators without going through the router.",
    )
    drain_grace_s: float = Field(
        3.0, ge=0, description="Seconds between readiness going red and the listener closing."
    )
    drain_timeout_s: float = Field(
        30.0, ge=0, description="Longest wait for requests in flight at shutdown, in seconds."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: text on a terminal, JSON lines elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )

    @property
    def pid_file(self) -> Path:
        """Where a running service leaves its process id, for `reverie models reload`."""
        return self.data_dir / f"serve-{self.port}.pid"
