"""URIs of registered versions, models:/NAME@ALIAS and models:/NAME/NUMBER. Loads no MLflow."""

from data_pipeline.cli.command import UserError
from mlops.tracking import names


def parse_model_uri(model_uri: str) -> tuple[str, str, str]:
    """(name, alias, number) of a model URI; alias or number is empty.

    Raises:
        UserError: it is neither models:/NAME@ALIAS nor models:/NAME/NUMBER.
    """
    rest = model_uri.removeprefix("models:/")
    name, at, alias = rest.partition("@")
    number = ""
    if not at:
        name, _, number = rest.partition("/")
    if rest == model_uri or not name or "/" in name or not (alias or number.isdigit()):
        raise UserError(
            f"model {model_uri!r}: give models:/{names.MODEL}@{names.CANDIDATE} (an alias) "
            f"or models:/{names.MODEL}/1 (a version)"
        )
    return name, alias, number
