"""What a worker process keeps over its attempts: telemetry, memory checkpoints, what broke.

Runs in: worker.
"""

from __future__ import annotations

from runner.channel import Channel
from runner.checkpoint_writer import SaveHooks
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.process_group import Graveyard
from runner.spec import RunSpec
from runner.telemetry import Telemetry
from runner.vault import Vault


class Equipment:
    """One rank's equipment; a rank keeps its number for as long as its process lives."""

    def __init__(
        self,
        spec: RunSpec,
        placement: Placement,
        channel: Channel,
        store: CheckpointStore,
    ) -> None:
        self.placement = placement
        self.telemetry = Telemetry(channel, placement.device)
        self.vault = Vault(
            spec.checkpoints,
            placement,
            store,
            channel,
            self.telemetry.send,
            attempt=0,
            is_shared_out=spec.train.strategy == "fsdp" and placement.world_size > 1,
        )
        self.graveyard = Graveyard()
        self.is_closed = False

    def begin_attempt(self, attempt: int, hooks: SaveHooks) -> None:
        """Go on in a new attempt."""
        self.vault.begin_attempt(attempt, hooks)

    def close(self) -> None:
        """Stop the background threads, delivering what they hold."""
        self.is_closed = True
        self.vault.announce(is_final=True)
        self.vault.drain()
        self.telemetry.flush()
        self.vault.close()
        self.telemetry.close()
