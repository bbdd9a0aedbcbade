import mlflow

from sttn_dad0c29925ba.fills.propagation import diffused, propagated
from sttn_dad0c29925ba.served import Inpainter

mlflow.models.set_model(Inpainter(diffused, propagated))
