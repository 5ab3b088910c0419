"""What tells the rooms how models of other rooms are opened. Imports no PyTorch before it is asked."""

from typing import Any

from tenfold.runs.readers import open_readers_by
from tenfold.runs.sampled_loss import SampledLoss, read_losses_by


def _losses_of(run: str) -> list[SampledLoss]:
    from tenfold.api.examples import losses_of

    return losses_of(run)


def _open_reader(source: str, order: str | None, device: str, dtype: str) -> Any:
    from tenfold.api.reading import open_language_model

    return open_language_model(source, order, device, dtype)


def tell_rooms() -> None:
    """Tell them: what is asked of another room's model in one of them is opened here."""
    read_losses_by(_losses_of)
    open_readers_by(_open_reader)
