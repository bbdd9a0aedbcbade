import mlflow

from sttn_0b919004d372.fills.propagation import diffused, propagated
from sttn_0b919004d372.served import Inpainter

mlflow.models.set_model(Inpainter(diffused, propagated))
