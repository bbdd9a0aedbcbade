"""The registry that a command which inpaints uses, if any. Loads no MLflow."""

from data_pipeline.cli.command import say
from data_pipeline.tracking import store_uri
from mlops.config import InpaintBatchConfig, InpaintConfig, ServeConfig
from mlops.starter.files import STARTER
from mlops.tracking.model_uri import parse_model_uri


def registry_of(config: InpaintConfig | InpaintBatchConfig | ServeConfig) -> str:
    """The tracking URI that a command uses, absolute; "" where it uses the starter model.

    Raises:
        UserError: the URI, or that of the model, is none.
    """
    if config.version != STARTER:
        parse_model_uri(config.version)
        return store_uri.absolute(config.tracking_uri)
    if not config.model:
        say(
            "no registry is named: the starter model is used, small and trained on photographs "
            "(mlops/starter/README.md); --tracking-uri URI uses models:/sttn@champion"
        )
    return ""
